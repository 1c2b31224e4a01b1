//! Deliberate defects, to see the conformance suite fail. Without the hidden feature `sabotage` there is none.

use crate::Sqlite;
use catga_contract::Fault;

impl Sqlite {
    /// Asks for a deliberate defect in this store and its clones; one store has one.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(self, fault: Fault) -> Self {
        self.inner.fault.get_or_init(|| fault);
        self
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
