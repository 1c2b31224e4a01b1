//! A transport that hands some parcels over twice, as one does whose answer was lost on the way.

use super::generate::Random;
use catga::{Capabilities, Outcome, Parcel, Registration, Result, StoreId, Str, SubscribeOptions, Transport};
use std::sync::{Mutex, PoisonError};

/// Of how many parcels one goes twice.
const ONE_IN: u64 = 100;

/// Hands one parcel in a hundred over a second time, under the same id; `told` hears which.
pub(crate) struct Twice<T, F> {
    transport: T,
    random: Mutex<Random>,
    told: F,
}

impl<T, F: Fn(&Parcel)> Twice<T, F> {
    /// Around `transport`.
    pub(crate) fn new(transport: T, seed: u64, told: F) -> Self {
        Self { transport, random: Mutex::new(Random::new(seed)), told }
    }
}

impl<T: Transport, F: Fn(&Parcel) + Send + Sync + 'static> Transport for Twice<T, F> {
    type Subscription = T::Subscription;

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    fn shares(&self) -> Option<StoreId> {
        self.transport.shares()
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.transport.register(consumers).await
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.transport.publish(parcels, outcomes).await?;
        let again: Vec<Parcel> = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            parcels.iter().filter(|_| random.below(ONE_IN) == 0).cloned().collect()
        };
        if !again.is_empty() {
            // The first time counts: whatever becomes of the second one, the parcels are stored.
            let published = self.transport.publish(&again, &mut Vec::new()).await;
            if published.is_ok() {
                again.iter().for_each(&self.told);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<T::Subscription> {
        self.transport.subscribe(options).await
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.transport.unsettled(consumer).await
    }
}
