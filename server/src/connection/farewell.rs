//! The end of a WebSocket: the last frames, a close frame each way, and nothing left unread.

use std::{future::poll_fn, pin::Pin, task::Poll};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use futures_util::{AsyncReadExt, AsyncWriteExt, Sink, Stream};
use tracing::info;

use super::{End, Presence, Pump};
use crate::{close::CloseReason, stream::Connected};

/// What a peer says to our close.
enum Answer {
    /// Still something else.
    Frame(Message),
    /// A message larger than anybody keeps for it.
    TooMuch,
    /// The end.
    End,
}

/// Says goodbye as far as the peer lets us.
pub(super) async fn say(pump: &mut Pump, end: End) {
    match end {
        End::Gone => {}
        End::PeerClosed => {
            // tungstenite has queued the answer to the peer's close, and takes no other one.
            let _ = poll_fn(|cx| Pin::new(&mut pump.socket).poll_flush(cx)).await;
            drain(pump.socket.get_mut()).await;
        }
        End::Closing(reason) => {
            log(&pump.presence, reason);
            while let Some(frame) = pump.presence.outbox.pop() {
                if pump.socket.send(frame).await.is_err() {
                    return;
                }
            }
            if pump.socket.close(Some(reason.frame())).await.is_ok() {
                await_answer(pump).await;
            }
        }
        End::Broken(reason) => {
            log(&pump.presence, reason);
            let _ = pump.socket.close(Some(reason.frame())).await;
            drain(pump.socket.get_mut()).await;
        }
    }
}

/// Reads on until the peer has answered our close, and keeps no large message for it.
async fn await_answer(pump: &mut Pump) {
    let Pump { socket, incoming, .. } = pump;
    loop {
        let answer = poll_fn(|cx| match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Pending if incoming.held(socket.get_ref().received()) > 0 => Poll::Ready(Answer::TooMuch),
            next => next.map(|frame| frame.and_then(Result::ok).map_or(Answer::End, Answer::Frame)),
        });
        match answer.await {
            Answer::Frame(frame) => incoming.complete(&frame, socket.get_ref().received()),
            Answer::TooMuch => {
                // The WebSocket goes, and what it holds with it.
                let (config, stream) = (*socket.get_config(), socket.get_mut().take());
                *socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
                return drain(socket.get_mut()).await;
            }
            Answer::End => return,
        }
    }
}

/// Lets the peer read our close frame: a socket closed with unread data resets the connection, and the
/// close frame is lost with it.
async fn drain(stream: &mut Connected) {
    let _ = stream.close().await;
    let mut scratch = vec![0; 1024];
    while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
}

fn log(presence: &Presence, reason: CloseReason) {
    if reason != CloseReason::PartnerLeft {
        presence.app.metrics.count_close(reason);
        if !presence.ticket.lines().admit(presence.address) {
            return;
        }
        info!(conn = presence.conn.0, code = u16::from(reason.code()), %reason, "closed");
    }
}
