//! The heart of a subscription: tells the server what is being worked at, learns how far it has come, and gives back
//! what still arrives at inboxes that are done with.

use crate::{Nats, settle::Desk, settle::payload};
use async_nats::{Subscriber, jetstream::AckKind};
use futures_util::StreamExt;
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::spawn,
    time::{interval, timeout},
};

/// How long the server may take to say that an inbox has got all that it will get.
const FAREWELL: Duration = Duration::from_secs(1);

/// Beats until it is dropped, and has seen off the inboxes that it was given.
pub(crate) struct Heart(UnboundedSender<Subscriber>);

impl Heart {
    pub(crate) fn start(desk: &Arc<Desk>) -> Self {
        let (heart, inboxes) = unbounded_channel();
        let nats = desk.jetstream.nats.clone();
        spawn(beat(Arc::downgrade(desk), nats, inboxes));
        Self(heart)
    }

    /// Ends an inbox: what the server has sent to it meanwhile is given back at once.
    pub(crate) fn end(&self, inbox: Subscriber) {
        // Where the task is gone, its runtime is: nobody can give anything back then.
        drop(self.0.send(inbox));
    }
}

async fn beat(desk: Weak<Desk>, nats: Nats, mut inboxes: UnboundedReceiver<Subscriber>) {
    let options = match desk.upgrade() {
        Some(desk) => desk.jetstream.options.consumer.clone(),
        None => return,
    };
    let mut beats = interval(options.ack_wait / 3);
    beats.tick().await;
    loop {
        tokio::select! {
            inbox = inboxes.recv() => match inbox {
                Some(inbox) => drop(timeout(FAREWELL, see_off(&nats, inbox)).await),
                None => return,
            },
            _ = beats.tick() => if let Some(desk) = desk.upgrade() {
                for reply in desk.beating(options.patience) {
                    if desk.answer(reply, AckKind::Progress).await.is_err() {
                        break;
                    }
                }
                // How far everything is done with: where the consumer is deleted, its successor begins there.
                if let Ok(Some(info)) = desk.jetstream.consumer_info(&desk.consumer).await {
                    desk.floor.fetch_max(info.ack_floor.stream_sequence, Ordering::Relaxed);
                }
            },
        }
    }
}

async fn see_off(nats: &Nats, mut inbox: Subscriber) {
    if inbox.drain().await.is_err() {
        return;
    }
    while let Some(message) = inbox.next().await {
        if let Some(reply) = message.reply
            && nats.client.publish(reply, payload(AckKind::Nak(None))).await.is_err()
        {
            return;
        }
    }
}
