//! Deliberate defects, to see the conformance suite fail. Without the hidden feature `sabotage` there is none.

use crate::Sqlite;
use catga_contract::Fault;
#[cfg(feature = "sabotage")]
use {
    crate::unit::insert,
    catga_contract::{Outgoing, Result},
    std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    },
};

impl Sqlite {
    /// Asks for a deliberate defect in this store and its clones; one store has one.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(self, fault: Fault) -> Self {
        self.inner.fault.get_or_init(|| fault);
        self
    }

    /// Writes messages when the transaction is over, however it ended.
    #[cfg(feature = "sabotage")]
    pub(crate) fn put_apart(&self, messages: &[Outgoing<'_>]) -> Result<()> {
        let own =
            |kept: &Outgoing<'_>| (kept.id, kept.subject.clone(), kept.frame.to_vec(), kept.key.cloned(), kept.due);
        let (messages, shared) = (messages.iter().map(own).collect::<Vec<_>>(), self.inner.shared.clone());
        let work = self.inner.shared.run(move |link| {
            for (id, subject, frame, key, due) in &messages {
                let message = Outgoing { id: *id, subject, frame, key: key.as_ref(), due: *due };
                insert(&link.connection, &[message])?;
            }
            shared.hub.outbox.ring();
            Ok(())
        });
        // Asked once it lies with the thread, which does it also when nobody waits.
        let _ = pin!(work).poll(&mut Context::from_waker(Waker::noop()));
        Ok(())
    }

    /// Whether that defect is wanted: never without the feature.
    pub(crate) fn sabotaged(&self, fault: Fault) -> bool {
        #[cfg(feature = "sabotage")]
        return self.inner.fault.get() == Some(&fault);
        #[cfg(not(feature = "sabotage"))]
        {
            let _ = fault;
            false
        }
    }
}
