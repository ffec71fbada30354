-- What a node of callbin does in Redis, each command atomically. The pure model of this is store.rs, and a test compares
-- the two. ARGV: the command, the node as "name/life", its lease in milliseconds, the digest of the cluster's secret, the
-- number of the node's connection, and the command's own arguments.
--
-- callbin:nodes           hash    name -> life, of the nodes that nobody has buried
-- callbin:lease:NAME      string  "life connection", expires with the lease
-- callbin:peer:UID        hash    n: node, c: connection, s: =identity or "stream", r: room
-- callbin:peers:NODE      set     the uids of a node
-- callbin:room:ROOM       hash    uid -> "number node connection dialect"
-- callbin:roomnodes:ROOM  hash    node -> members there; " last": the last number; " bytes": of the names
-- callbin:media           set     nodes that have media nodes
-- callbin:graves          set     dead nodes whose uids are not all removed
-- callbin:check           string  the digest
-- callbin:empty           string  expires after half a lease, at most 5 s: nodes claim again what they had before Redis was
--                                 emptied, and nobody claims anything new
--
-- A full Redis refuses a command that adds something if it is the script's first write, and none after that. So each
-- command that adds something begins with such a write: it has all of its effects or none.
local command, me, lease, digest, connection = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local name, life = string.match(me, '^(.*)/(%x+)$')
local P = 'callbin:'

local function is_alive(node)
  local its_name, its_life = string.match(node, '^(.*)/(%x+)$')
  local holder = redis.call('GET', P .. 'lease:' .. its_name)
  return holder and string.match(holder, '^%x+') == its_life
end

-- Whether this life has the lease, and no later connection: what an earlier one has sent is repeated there if need be, and
-- may arrive here late.
local function is_current()
  return redis.call('GET', P .. 'lease:' .. name) == life .. ' ' .. connection
end

local function tell(node, ...)
  redis.call('PUBLISH', P .. 'in:' .. node, 'E' .. table.concat({digest, ...}, ' '))
end

local function nodes_of(room)
  local nodes = {}
  for _, field in ipairs(redis.call('HKEYS', P .. 'roomnodes:' .. room)) do
    if string.sub(field, 1, 1) ~= ' ' then nodes[#nodes + 1] = field end
  end
  return nodes
end

local function is_mine(uid, conn)
  local entry = redis.call('HMGET', P .. 'peer:' .. uid, 'n', 'c')
  return entry[1] == me and entry[2] == conn
end

local function leave(room, uid)
  local value = redis.call('HGET', P .. 'room:' .. room, uid)
  if not value then return end
  local home = string.match(value, '^%S+ (%S+)')
  redis.call('HDEL', P .. 'room:' .. room, uid)
  redis.call('HDEL', P .. 'peer:' .. uid, 'r')
  redis.call('HINCRBY', P .. 'roomnodes:' .. room, ' bytes', -(#uid + 1))
  if redis.call('HINCRBY', P .. 'roomnodes:' .. room, home, -1) <= 0 then
    redis.call('HDEL', P .. 'roomnodes:' .. room, home)
  end
  if redis.call('HLEN', P .. 'room:' .. room) == 0 then
    redis.call('DEL', P .. 'room:' .. room, P .. 'roomnodes:' .. room)
  end
  for _, node in ipairs(nodes_of(room)) do
    if node ~= home then tell(node, 'left', room, uid) end
  end
end

local function add(room, uid, conn, dialect)
  local number = redis.call('HINCRBY', P .. 'roomnodes:' .. room, ' last', 1)
  for _, node in ipairs(nodes_of(room)) do
    if node ~= me then tell(node, 'joined', room, uid, me, dialect) end
  end
  redis.call('HINCRBY', P .. 'roomnodes:' .. room, ' bytes', #uid + 1)
  redis.call('HINCRBY', P .. 'roomnodes:' .. room, me, 1)
  redis.call('HSET', P .. 'room:' .. room, uid, table.concat({number, me, conn, dialect}, ' '))
  redis.call('HSET', P .. 'peer:' .. uid, 'r', room)
end

-- The members on other living nodes, in the order in which they joined.
local function others(room)
  local all, found, alive = redis.call('HGETALL', P .. 'room:' .. room), {}, {[me] = false}
  for i = 1, #all, 2 do
    local number, node, dialect = string.match(all[i + 1], '^(%d+) (%S+) %S+ (%S+)$')
    if alive[node] == nil then alive[node] = is_alive(node) end
    if alive[node] then found[#found + 1] = {tonumber(number), all[i] .. ' ' .. node .. ' ' .. dialect} end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  local words = {}
  for i, member in ipairs(found) do words[i] = member[2] end
  return table.concat(words, ' ')
end

local function forget(uid)
  local node, room = unpack(redis.call('HMGET', P .. 'peer:' .. uid, 'n', 'r'))
  if not node then return end
  if room then leave(room, uid) end
  redis.call('DEL', P .. 'peer:' .. uid)
  redis.call('SREM', P .. 'peers:' .. node, uid)
end

local function pronounce_dead(dead)
  local its_name, its_life = string.match(dead, '^(.*)/(%x+)$')
  if redis.call('HGET', P .. 'nodes', its_name) ~= its_life then return end
  redis.call('HDEL', P .. 'nodes', its_name)
  redis.call('SREM', P .. 'media', dead)
  redis.call('SADD', P .. 'graves', dead)
  local all = redis.call('HGETALL', P .. 'nodes')
  for i = 1, #all, 2 do tell(all[i] .. '/' .. all[i + 1], 'died', dead) end
end

-- Extends what expires. Returns whether Redis has no memory for anything new.
local function extend()
  local refused = redis.pcall('SET', P .. 'check', digest, 'PX', lease * 4)
  redis.call('PEXPIRE', P .. 'lease:' .. name, lease)
  redis.call('PEXPIRE', P .. 'check', lease * 4)
  return type(refused) == 'table' and refused.err ~= nil
end

local commands = {}

function commands.enter(before)
  local check = redis.call('GET', P .. 'check')
  if check and check ~= digest then return {'secret'} end
  local holder, last = string.match(redis.call('GET', P .. 'lease:' .. name) or '', '^(%x+) (%d+)$')
  if holder and holder ~= life and (name .. '/' .. holder) ~= before then return {'name'} end
  if holder == life and tonumber(last) > tonumber(connection) then return {'fenced'} end
  local known = redis.call('HGET', P .. 'nodes', name)
  if known == life and holder == life then
    extend()
    redis.call('SET', P .. 'lease:' .. name, life .. ' ' .. connection, 'PX', lease)
    return {'done'}
  end
  redis.call('SET', P .. 'check', digest, 'PX', lease * 4)
  if not check then redis.call('SET', P .. 'empty', '1', 'PX', math.min(math.ceil(lease / 2), 5000)) end
  redis.call('SET', P .. 'lease:' .. name, life .. ' ' .. connection, 'PX', lease)
  if known and known ~= life then pronounce_dead(name .. '/' .. known) end
  redis.call('HSET', P .. 'nodes', name, life)
  if redis.call('EXISTS', P .. 'empty') == 1 then return {'empty'} end
  return {'done'}
end

function commands.renew(has_media)
  if not is_current() then return {'fenced'} end
  local answer, all = {extend() and 'nodes-full' or 'nodes'}, redis.call('HGETALL', P .. 'nodes')
  redis.call(has_media == '1' and 'SADD' or 'SREM', P .. 'media', me)
  local media = {}
  for _, node in ipairs(redis.call('SMEMBERS', P .. 'media')) do media[node] = true end
  for i = 1, #all, 2 do
    local node = all[i] .. '/' .. all[i + 1]
    answer[#answer + 1] = (not is_alive(node) and '-' or media[node] and '*' or '+') .. node
  end
  for _, node in ipairs(redis.call('SMEMBERS', P .. 'graves')) do answer[#answer + 1] = '-' .. node end
  return answer
end

function commands.bury(dead)
  if not is_current() then return {'fenced'} end
  if is_alive(dead) then return {'done'} end
  pronounce_dead(dead)
  local some = redis.call('SPOP', P .. 'peers:' .. dead, 128)
  for _, uid in ipairs(some) do
    if redis.call('HGET', P .. 'peer:' .. uid, 'n') == dead then forget(uid) end
  end
  if #some == 128 then return {'more'} end
  redis.call('SREM', P .. 'graves', dead)
  return {'done'}
end

function commands.claim(uid, conn, identity, again)
  if not is_current() then return {'fenced'} end
  local node, there, its_identity = unpack(redis.call('HMGET', P .. 'peer:' .. uid, 'n', 'c', 's'))
  if node then
    if node == me and there == conn then return {'done'} end
    if is_alive(node) then
      if again == '1' then return {'taken', node} end
      if identity == '' or its_identity ~= identity then
        tell(node, 'probe', uid, there)
        return {'taken', node}
      end
    end
  end
  redis.call('SADD', P .. 'peers:' .. me, uid)
  if node then
    if node ~= me and is_alive(node) then tell(node, 'taken', uid, there) end
    forget(uid)
    redis.call('SADD', P .. 'peers:' .. me, uid)
  end
  redis.call('HSET', P .. 'peer:' .. uid, 'n', me, 'c', conn)
  if identity ~= '' then redis.call('HSET', P .. 'peer:' .. uid, 's', identity) end
  return {'done'}
end

function commands.release(uid, conn)
  if is_current() and is_mine(uid, conn) then forget(uid) end
  return {'done'}
end

function commands.find(uid)
  local node = redis.call('HGET', P .. 'peer:' .. uid, 'n')
  if node and is_alive(node) then return {'at', node} end
  return {'nowhere'}
end

function commands.join(room, uid, conn, dialect, most, bytes, lists)
  if not is_current() then return {'fenced'} end
  if not is_mine(uid, conn) then return {'nowhere'} end
  local there = redis.call('HGET', P .. 'peer:' .. uid, 'r')
  if there ~= room then
    if there then leave(there, uid) end
    local names = tonumber(redis.call('HGET', P .. 'roomnodes:' .. room, ' bytes') or 0)
    if redis.call('HLEN', P .. 'room:' .. room) >= tonumber(most) or names + #uid + 1 > tonumber(bytes) then
      return {'full'}
    end
    add(room, uid, conn, dialect)
  end
  if lists == '1' then
    tell(me, 'entered', room, uid, conn, others(room))
  else
    tell(me, 'added', room, uid, conn)
  end
  return {'done'}
end

function commands.leave(room, uid, conn)
  if is_current() and is_mine(uid, conn) then leave(room, uid) end
  return {'done'}
end

function commands.sync(room, whole, ...)
  if not is_current() then return {'fenced'} end
  local words = {...}
  for i = 1, #words, 3 do
    local uid, conn, dialect = words[i], words[i + 1], words[i + 2]
    if is_mine(uid, conn) and not redis.call('HGET', P .. 'peer:' .. uid, 'r') then add(room, uid, conn, dialect) end
  end
  tell(me, 'members', room, whole, others(room))
  return {'done'}
end

-- For operators: the peer's node, or all nodes of the room, close connections.
function commands.kick(uid, what)
  local node, conn, identity = unpack(redis.call('HMGET', P .. 'peer:' .. uid, 'n', 'c', 's'))
  if (identity == 'stream') ~= (what == 'stream') then return {'nowhere'} end
  if not node or not is_alive(node) then return {'nowhere'} end
  tell(node, 'kick', uid, conn)
  return {'done'}
end

function commands.close(room)
  for _, node in ipairs(nodes_of(room)) do tell(node, 'close', room) end
  return {'members', tostring(redis.call('HLEN', P .. 'room:' .. room))}
end

function commands.quit()
  if is_current() then redis.call('DEL', P .. 'lease:' .. name) end
  return {'done'}
end

return commands[command](unpack(ARGV, 6))
