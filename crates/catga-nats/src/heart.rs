//! The heart of a subscription: tells the server what is being worked at, and learns how far it has come.

use crate::settle::Desk;
use async_nats::jetstream::AckKind;
use std::sync::{Weak, atomic::Ordering};
use tokio::{
    task::{AbortHandle, spawn},
    time::interval,
};

/// Beats until it is dropped.
pub(crate) struct Heart(AbortHandle);

impl Heart {
    pub(crate) fn start(desk: &std::sync::Arc<Desk>) -> Self {
        let options = desk.jetstream.options.consumer.clone();
        let desk = std::sync::Arc::downgrade(desk);
        let beating = async move {
            let mut beats = interval(options.ack_wait / 3);
            beats.tick().await;
            loop {
                beats.tick().await;
                let Some(desk) = Weak::upgrade(&desk) else { return };
                for reply in desk.beating(options.patience) {
                    if desk.answer(reply, AckKind::Progress).await.is_err() {
                        break;
                    }
                }
                // How far everything is done with: where the consumer is deleted, its successor begins there.
                if let Ok(Some(info)) = desk.jetstream.consumer_info(&desk.consumer).await {
                    desk.floor.fetch_max(info.ack_floor.stream_sequence, Ordering::Relaxed);
                }
            }
        };
        Self(spawn(beating).abort_handle())
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}
