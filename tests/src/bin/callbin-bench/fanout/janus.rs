//! Janus with its video room, over its HTTP API.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
};

use callbin_tests::{
    DEADLINE,
    process::{Process, free_port},
    wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Forwarder, client::Client, pin};

const ROOM: u64 = 1234;

pub struct Janus {
    process: Process,
    address: SocketAddr,
    /// Its configuration.
    _folder: TempDir,
    version: String,
    session: u64,
    feed: u64,
}

impl Janus {
    pub fn start() -> Result<Self, String> {
        let output = Command::new("janus").arg("--version").output().map_err(|_| "not installed")?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        // "Janus version: 1102 (1.1.2)".
        let version = output.split(['(', ')']).nth(1).unwrap_or_default().to_owned();
        let (folder, address) =
            (TempDir::new().expect("a folder"), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        for (name, text) in configuration(address.port()) {
            fs::write(folder.path().join(name), text).expect("the folder is ours");
        }
        let mut command = Command::new("janus");
        let command =
            command.arg("--configs-folder").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn(command);
        wait_until("Janus to listen", DEADLINE, || TcpStream::connect(address).ok());
        pin(process.pid(), 0);
        let mut janus = Self { process, address, _folder: folder, version, session: 0, feed: 0 };
        janus.session =
            janus.post("", &json!({ "janus": "create" }))["data"]["id"].as_u64().ok_or("no session")?;
        Ok(janus)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/janus{path}", self.address)
    }

    fn post(&self, path: &str, message: &Value) -> Value {
        let mut message = message.clone();
        message["transaction"] = "t".into();
        let answer = ureq::post(self.url(path))
            .send(message.to_string())
            .and_then(|mut it| it.body_mut().read_to_string());
        serde_json::from_str(&answer.expect("Janus answers")).expect("JSON")
    }

    /// The next event with this handle, other than acknowledgements.
    fn event(&self, handle: u64) -> Value {
        wait_until("an event of Janus", DEADLINE, || {
            let url = self.url(&format!("/{}", self.session));
            let event = ureq::get(url).call().and_then(|mut it| it.body_mut().read_to_string());
            let event: Value = serde_json::from_str(&event.expect("Janus answers")).expect("JSON");
            (event["janus"] == "event" && event["sender"] == handle).then_some(event)
        })
    }

    fn attach(&self) -> u64 {
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        self.post(&format!("/{}", self.session), &attach)["data"]["id"].as_u64().expect("a handle")
    }

    /// A message to the video room, and its event.
    fn ask(&self, handle: u64, body: &Value, jsep: Option<Value>) -> Value {
        let mut message = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        self.post(&format!("/{}/{handle}", self.session), &message);
        self.event(handle)
    }
}

fn configuration(port: u16) -> [(&'static str, String); 3] {
    let library = "/usr/lib/x86_64-linux-gnu/janus";
    [
        (
            "janus.jcfg",
            format!(
                "general: {{ plugins_folder = \"{library}/plugins\"; transports_folder = \"{library}/transports\"; \
                 events_folder = \"{library}/events\"; loggers_folder = \"{library}/loggers\"; debug_level = 2; \
                 session_timeout = 0; }}\n\
                 nat: {{ ice_lite = true; }}\n\
                 plugins: {{ disable = \"libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,\
                 libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,\
                 libjanus_videocall.so,libjanus_voicemail.so\"; }}\n\
                 transports: {{ disable = \"libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,\
                 libjanus_websockets.so\"; }}\n"
            ),
        ),
        (
            "janus.transport.http.jcfg",
            format!(
                "general: {{ json = \"compact\"; base_path = \"/janus\"; http = true; port = {port}; ip = \"127.0.0.1\"; }}\n"
            ),
        ),
        (
            "janus.plugin.videoroom.jcfg",
            format!(
                "room-{ROOM}: {{ publishers = 1; bitrate = 0; audiocodec = \"opus\"; videocodec = \"vp8\"; }}\n"
            ),
        ),
    ]
}

impl Forwarder for Janus {
    fn name(&self) -> String {
        format!("Janus {}", self.version)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn publish(&mut self, at: IpAddr) -> Client {
        let handle = self.attach();
        let joined =
            self.ask(handle, &json!({ "request": "join", "ptype": "publisher", "room": ROOM }), None);
        self.feed = joined["plugindata"]["data"]["id"].as_u64().unwrap_or_else(|| panic!("{joined}"));
        Client::offer(at, true, |offer| {
            let jsep = json!({ "type": "offer", "sdp": offer });
            let event = self.ask(handle, &json!({ "request": "publish" }), Some(jsep));
            event["jsep"]["sdp"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned()
        })
    }

    fn play(&mut self, at: IpAddr) -> Client {
        let handle = self.attach();
        let join = json!({ "request": "join", "ptype": "subscriber", "room": ROOM, "streams": [{ "feed": self.feed }] });
        let event = self.ask(handle, &join, None);
        let offer = event["jsep"]["sdp"].as_str().unwrap_or_else(|| panic!("{event}"));
        Client::answer(at, offer, |answer| {
            self.ask(
                handle,
                &json!({ "request": "start" }),
                Some(json!({ "type": "answer", "sdp": answer })),
            );
        })
    }
}
