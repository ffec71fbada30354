//! The end of a WebSocket: the last frames, the closing handshake, and reading what is left.

use std::{future::poll_fn, pin::Pin, task::Poll};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use futures_util::{AsyncReadExt, AsyncWriteExt, Sink, Stream};
use tracing::info;

use super::{End, Presence, Pump};
use crate::{close::CloseReason, edge::stream::Connected};

/// What the peer sends after our close frame.
enum Answer {
    /// Another frame.
    Frame(Message),
    /// A message too large to be kept.
    TooMuch,
    /// Its close frame, or the end of the connection.
    End,
}

/// Sends the last frames and the close frame, as far as the peer reads them.
pub(super) async fn say(pump: &mut Pump, end: End) {
    match end {
        End::Gone => {}
        End::PeerClosed => {
            // tungstenite has queued the reply to the peer's close frame, and accepts no other one.
            let _ = poll_fn(|cx| Pin::new(&mut pump.socket).poll_flush(cx)).await;
            drain(pump.socket.get_mut()).await;
        }
        End::Closing(reason) => {
            log(&pump.presence, reason);
            while let Some(item) = pump.presence.outbox.pop() {
                let sent = pump.start_send(item).is_ok();
                if !sent || poll_fn(|cx| Pin::new(&mut pump.socket).poll_flush(cx)).await.is_err() {
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

/// Reads until the peer has replied to our close frame, without keeping large messages.
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
                // Drop the WebSocket together with its buffers.
                let (config, stream) = (*socket.get_config(), socket.get_mut().take());
                *socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
                return drain(socket.get_mut()).await;
            }
            Answer::End => return,
        }
    }
}

/// Lets the peer read our close frame: closing a socket with unread data resets the connection, and the close frame would
/// be lost.
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
