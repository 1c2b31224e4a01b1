use crate::{BoxFuture, Parcel, Result, Str, Subject};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// Asks other processes, and answers them. Nothing is kept: an answer that is not there in time never comes, and it is
/// unknown then whether the request was handled.
pub trait RequestReply: Send + Sync + 'static {
    /// What [`serve`](Self::serve) answers.
    type Server: Server;

    /// Hands a request to one of those who serve its subject, and waits for the frame of the answer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoHandler`](crate::ErrorKind::NoHandler) where nobody serves the subject, at once where the backend
    /// can tell; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) where no answer came in `time`.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is unknown whether the request is handled.
    fn ask(&self, request: &Parcel, time: Duration) -> impl Future<Output = Result<Bytes>> + Send;

    /// Hands a request to one member of each group that serves its subject; answers the frames that came in `time`, in
    /// the order in which they came. It returns early when nobody is missing, where the backend knows who there is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoHandler`](crate::ErrorKind::NoHandler) where nobody serves the subject.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    fn ask_all(&self, request: &Parcel, time: Duration) -> impl Future<Output = Result<Vec<Bytes>>> + Send;

    /// Serves subjects as a member of a group: each request goes to one member.
    ///
    /// # Errors
    ///
    /// Where the backend cannot be reached.
    fn serve(&self, group: &Str, subjects: &[Subject]) -> impl Future<Output = Result<Self::Server>> + Send;
}

/// What a member of a group is asked; dropped, it serves no more.
pub trait Server: Send + 'static {
    /// The next request.
    ///
    /// # Errors
    ///
    /// Where the backend fails; ask again after a pause.
    ///
    /// # Cancel safety
    ///
    /// A dropped future keeps what it read for the next call.
    fn next(&mut self) -> impl Future<Output = Result<Asked>> + Send;
}

/// A request and the way back.
pub struct Asked {
    /// The bytes as they came.
    pub frame: Bytes,
    reply: Reply,
}

type Reply = Box<dyn FnOnce(Bytes) -> BoxFuture<'static, Result<()>> + Send>;

impl Asked {
    /// A request; `reply` carries the frame of the answer back.
    pub fn new(frame: Bytes, reply: impl FnOnce(Bytes) -> BoxFuture<'static, Result<()>> + Send + 'static) -> Self {
        Self { frame, reply: Box::new(reply) }
    }

    /// Answers it.
    ///
    /// # Errors
    ///
    /// Where the backend fails; who asked gets nothing then.
    pub async fn reply(self, frame: Bytes) -> Result<()> {
        (self.reply)(frame).await
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("bytes", &self.frame.len()).finish_non_exhaustive()
    }
}
