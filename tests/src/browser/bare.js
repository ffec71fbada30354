// A peer that is only an RTCPeerConnection and a WebSocket. It negotiates when its test asks for it.
(() => {
  const bare = { texts: [], error: null, mangle: (sdp) => sdp, mangleAnswer: (sdp) => sdp, answers: 0 };
  window.bare = bare;
  const tracks = new Map();

  bare.open = (url, id) => new Promise((done, fail) => {
    bare.socket = new WebSocket(url);
    bare.socket.onopen = () => bare.socket.send(`HELLO ${id}`);
    bare.socket.onerror = () => fail(new Error('no connection'));
    bare.socket.onmessage = ({ data }) => (data === 'HELLO' ? done() : bare.said(data).catch((e) => { bare.error ??= String(e); }));
  });

  bare.call = (uid) => new Promise((done) => {
    bare.sessionOk = done;
    bare.socket.send(`SESSION ${uid}`);
  });

  // Joins a room with one other member, to call that one.
  bare.join = (room) => new Promise((done) => {
    bare.roomOk = done;
    bare.socket.send(`ROOM ${room}`);
  });

  bare.connect = (options = {}) => {
    const pc = new RTCPeerConnection(options);
    bare.pc = pc;
    pc.onicecandidate = ({ candidate }) => candidate && bare.send({ ice: candidate });
    pc.ontrack = ({ track }) => bare.watch(track);
    pc.ondatachannel = ({ channel }) => bare.adopt(channel);
    return null;
  };

  bare.adopt = (channel) => {
    bare.channel = channel;
    channel.onmessage = ({ data }) => bare.texts.push(data);
    return null;
  };

  // How long our messages are on their way, in ms.
  bare.delay = 0;

  bare.send = (message) => {
    const text = (bare.member ? `ROOM_PEER_MSG ${bare.member} ` : '') + JSON.stringify(message);
    if (bare.delay) setTimeout(() => bare.socket.send(text), bare.delay);
    else bare.socket.send(text);
  };

  bare.said = async (text) => {
    if (text === 'SESSION_OK') return bare.sessionOk();
    if (text.startsWith('ROOM_OK ')) {
      bare.member = text.slice('ROOM_OK '.length).trim();
      return bare.roomOk();
    }
    if (text.startsWith('ROOM_PEER_JOINED ')) { bare.member = text.slice('ROOM_PEER_JOINED '.length).trim(); return null; }
    if (text.startsWith(`ROOM_PEER_MSG ${bare.member} `)) return bare.signal(text.slice(`ROOM_PEER_MSG ${bare.member} `.length));
    return bare.signal(text);
  };

  bare.signal = async (text) => {
    if (text === 'OFFER_REQUEST') return bare.negotiate();
    if (text.startsWith('ERROR')) throw new Error(text);
    const { sdp, ice, resume } = JSON.parse(text);
    if (resume) return bare.replied(resume);
    if (!bare.pc) bare.connect();
    if (ice) return ice.candidate && bare.pc.addIceCandidate(ice);
    bare.lastSdp = sdp.sdp;
    await bare.pc.setRemoteDescription(sdp);
    if (sdp.type === 'answer') { bare.answers += 1; return null; }
    await bare.prepareAnswer?.();
    const { type, sdp: answer } = await bare.pc.createAnswer();
    await bare.pc.setLocalDescription({ type, sdp: bare.mangleAnswer(answer) });
    bare.send({ sdp: bare.pc.localDescription });
  };

  // Resumes a call, as docs/protocols/text.md has it: the other side answers our nonce, and both prove that they know the key.
  bare.resume = async (key) => {
    const nonce = crypto.randomUUID();
    const reply = new Promise((done) => { bare.replied = done; });
    bare.send({ resume: { nonce } });
    const theirs = await reply;
    const proof = async (role) => {
      const text = new TextEncoder().encode(`${role}:${nonce}:${theirs.nonce}:${key}`);
      const bytes = [...new Uint8Array(await crypto.subtle.digest('SHA-256', text))];
      return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    };
    if (theirs.proof !== (await proof('callee'))) throw new Error('not the peer of this call');
    bare.send({ resume: { proof: await proof('caller') } });
    return null;
  };

  bare.offer = async () => {
    await bare.pc.setLocalDescription(await bare.pc.createOffer());
    const { type, sdp } = bare.pc.localDescription;
    bare.send({ sdp: { type, sdp: bare.mangle(sdp) } });
  };

  // Offers, and returns when the answer is applied.
  bare.negotiate = async () => {
    const before = bare.answers;
    await bare.offer();
    await bare.until(() => bare.answers > before, 'an answer');
    return null;
  };

  // Stops the medium whose m-line names the transport.
  bare.stopFirst = () => {
    const mid = /a=group:BUNDLE (\S+)/.exec(bare.pc.localDescription.sdp)[1];
    bare.pc.getTransceivers().find((it) => it.mid === mid).stop();
    return bare.negotiate();
  };

  bare.until = async (condition, what, limit = 20000) => {
    for (const start = performance.now(); !(await condition());) {
      if (bare.error) throw new Error(bare.error);
      if (performance.now() - start > limit) throw new Error(`waited in vain for ${what}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  };

  bare.media = async () => {
    bare.stream ??= await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 20 } });
    return bare.stream;
  };

  bare.addMedia = async () => {
    const stream = await bare.media();
    stream.getTracks().forEach((track) => bare.pc.addTrack(track, stream));
    return null;
  };

  // Plays a track, and records when each frame is shown.
  bare.watch = (track) => {
    if (tracks.has(track)) return;
    const video = document.createElement('video');
    video.muted = true;
    video.autoplay = true;
    video.srcObject = new MediaStream([track]);
    document.body.append(video);
    const times = [];
    tracks.set(track, { kind: track.kind, times, video });
    const note = () => { times.push(performance.now()); video.requestVideoFrameCallback(note); };
    video.requestVideoFrameCallback(note);
  };

  const videos = () => [...tracks].filter(([track, { kind }]) => kind === 'video' && track.readyState === 'live').map(([, it]) => it);

  // Frames shown of all live video tracks.
  bare.frames = () => videos().reduce((sum, { times }) => sum + times.length, 0);

  bare.packets = async (kind) => {
    let packets = 0;
    (await bare.pc.getStats()).forEach((it) => { if (it.type === 'inbound-rtp' && it.kind === kind) packets += it.packetsReceived; });
    return packets;
  };

  // The browser's part in the DTLS handshake.
  bare.dtlsRole = async () => [...(await bare.pc.getStats()).values()].find(({ type }) => type === 'transport')?.dtlsRole;

  // Sends the picture in another of the negotiated codecs, without a new description.
  bare.change = async (mimeType) => {
    const sender = bare.pc.getSenders().find(({ track }) => track?.kind === 'video');
    const parameters = sender.getParameters();
    const codec = parameters.codecs.find((it) => it.mimeType === mimeType);
    if (!codec) throw new Error(`${mimeType} is not negotiated`);
    parameters.encodings.forEach((it) => { it.codec = codec; });
    await sender.setParameters(parameters);
    return null;
  };

  // Whether the picture is sent in this codec.
  bare.sends = async (mimeType) => {
    const all = await bare.pc.getStats();
    return [...all.values()].some((it) => it.type === 'outbound-rtp' && it.kind === 'video' && all.get(it.codecId)?.mimeType === mimeType);
  };

  // From now on gaps count. Packets of sound have no event, so a timer looks for new ones.
  bare.mark = () => {
    bare.marked = performance.now();
    bare.heard = [];
    clearInterval(bare.listening);
    let last = 0;
    bare.listening = setInterval(() => {
      const sources = bare.pc.getReceivers().filter(({ track }) => track.kind === 'audio').flatMap((it) => it.getSynchronizationSources());
      const latest = Math.max(0, ...sources.map(({ timestamp }) => timestamp));
      if (latest > last) { last = latest; bare.heard.push(performance.now()); }
    }, 10);
    return null;
  };

  const longest = (times) => {
    const all = [bare.marked, ...times, performance.now()];
    return Math.max(...all.slice(1).map((time, index) => time - all[index]));
  };

  // The longest time without a new frame since the mark, and without sound.
  bare.gap = () => longest(videos().flatMap(({ times }) => times).filter((time) => time >= bare.marked).sort((a, b) => a - b));
  bare.soundGap = () => longest(bare.heard);

  // Waits until more frames and audio packets arrive.
  bare.plays = async () => {
    const [frames, packets] = [bare.frames(), await bare.packets('audio')];
    await bare.until(() => bare.frames() >= frames + 10, 'frames');
    await bare.until(async () => (await bare.packets('audio')) >= packets + 20, 'sound');
    return null;
  };

  bare.says = async (text) => {
    await bare.until(() => bare.channel?.readyState === 'open', 'a data channel');
    bare.channel.send(text);
    return null;
  };
  return null;
})()
