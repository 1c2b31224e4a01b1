//! Requests to other processes, and the answers to theirs.

use crate::{
    App,
    app::Core,
    metrics::{error_type, kind_of},
    panic,
    relay::TROUBLE,
    send::answer,
    stop::Stopped,
};
use bytes::Bytes;
use catga_contract::{
    __private::check_subject, Asked, BoxRequestReply, Call, Codec, Envelope, Error, ErrorKind, MessageId, Parcel,
    Request, RequestReply, Result, SendOptions, Server, Str, Subject, Wire,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long an answer is waited for unless the deadline says otherwise.
const TIME: Duration = Duration::from_secs(5);
/// How many requests of others are handled at a time.
const CALLS: usize = 16;
/// The header of an answer that is an error: its kind.
const ERROR: &str = "catga-error";

impl App {
    /// Asks whoever [serves](crate::Builder::serve) the request, in this process or another one. The answer is waited
    /// for 5 s, or until the deadline of [`ask_with`](Self::ask_with).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoHandler`] where nobody serves it, [`ErrorKind::Timeout`] where no answer came in time: then it is
    /// unknown whether the request was handled. What the handler answered, with its kind and text.
    /// [`ErrorKind::Unsupported`] where the application has nothing to [ask by](crate::Builder::requests).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is unknown whether the request is handled.
    pub async fn ask<R: Request + Wire>(&self, request: R) -> Result<R::Reply> {
        self.ask_with(request, SendOptions::default()).await
    }

    /// As [`ask`](Self::ask), with a deadline, a conversation, headers and a trace. A principal and an idempotency key
    /// are this process's own and do not travel: put what must into headers.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_with<R: Request + Wire>(&self, request: R, options: SendOptions) -> Result<R::Reply> {
        let about = |error: Error| error.context(format_args!("asking `{}`", R::NAME));
        let (requests, parcel, time) = self.asking(&request, options).map_err(about)?;
        let frame = requests.ask(&parcel, time).await.map_err(about)?;
        opened::<R>(&frame).map_err(about)
    }

    /// Asks one member of each application that serves the request; answers what each of them answered, in the order
    /// in which the answers came, up to the deadline.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask), where nobody was asked. What one of them answered is in its own result.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_all<R: Request + Wire>(&self, request: R, options: SendOptions) -> Result<Vec<Result<R::Reply>>> {
        let about = |error: Error| error.context(format_args!("asking all for `{}`", R::NAME));
        let (requests, parcel, time) = self.asking(&request, options).map_err(about)?;
        let frames = requests.ask_all(&parcel, time).await.map_err(about)?;
        Ok(frames.iter().map(opened::<R>).collect())
    }

    fn asking<R: Request + Wire>(
        &self,
        request: &R,
        options: SendOptions,
    ) -> Result<(&BoxRequestReply, Parcel, Duration)> {
        let Some(requests) = &self.0.requests else {
            let text = "the application has nothing to ask by: add `.requests(…)`";
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        let now = SystemTime::now();
        let deadline = options.deadline.unwrap_or(now + TIME);
        let subject = self.0.resources.subject(R::NAME);
        check_subject(&subject)?;
        let id = MessageId::new();
        let codec = Str::from_static(<R::Codec as Codec<R>>::NAME);
        let mut envelope = Envelope::new(id, Str::from_static(R::NAME), codec, Bytes::new());
        envelope.version = R::VERSION;
        envelope.correlation = options.correlation.unwrap_or(id);
        envelope.headers = options.headers;
        envelope.trace = options.trace;
        envelope.deadline = Some(deadline);
        let mut frame = Vec::with_capacity(128 + <R::Codec as Codec<R>>::size_hint(request));
        envelope.encode_with(&mut frame, |out| <R::Codec as Codec<R>>::encode(request, out))?;
        let time = deadline.duration_since(now).unwrap_or_default();
        Ok((requests, Parcel::new(subject, id, frame.into()), time))
    }
}

/// What an answer says.
fn opened<R: Request + Wire>(frame: &Bytes) -> Result<R::Reply> {
    let envelope = Envelope::decode(frame)?;
    if let Some(kind) = envelope.headers.get(ERROR) {
        let kind = std::str::from_utf8(kind).ok().and_then(kind_of).unwrap_or(ErrorKind::Handler);
        return Err(Error::new(kind, String::from_utf8_lossy(&envelope.payload).into_owned()));
    }
    <R::Codec as Codec<R::Reply>>::decode_named(&envelope.codec, &envelope.payload)
        .map_err(|error| error.context(format_args!("the answer to `{}`", R::NAME)))
}

/// A request that others may send.
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub(crate) name: &'static str,
    aliases: &'static [&'static str],
    run: for<'a> fn(&'a App, &'a Envelope) -> BoxFuture<'a, Answered>,
}

/// The frame of an answer, or `None` where nobody waits for it any more.
type Answered = Result<Option<Vec<u8>>>;

impl Served {
    pub(crate) fn of<R: Request + Wire>() -> Self {
        Self { name: R::NAME, aliases: R::ALIASES, run: |app, envelope| Box::pin(run::<R>(app, envelope)) }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Handles a request of somebody else.
async fn run<R: Request + Wire>(app: &App, envelope: &Envelope) -> Answered {
    let request = R::open(envelope)?;
    let handler = app.handler::<R>()?;
    let mut call = Call::asked(&app.0.resources, envelope);
    let handled = answer(handler, &mut call, request);
    let reply = match envelope.deadline {
        None => handled.await?,
        Some(deadline) => {
            let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
            match tokio::time::timeout(left, handled).await {
                Ok(handled) => handled?,
                Err(_) => return Ok(None),
            }
        }
    };
    let codec = Str::from_static(<R::Codec as Codec<R::Reply>>::NAME);
    let mut frame = Vec::with_capacity(128 + <R::Codec as Codec<R::Reply>>::size_hint(&reply));
    answering(envelope, codec).encode_with(&mut frame, |out| <R::Codec as Codec<R::Reply>>::encode(&reply, out))?;
    Ok(Some(frame))
}

/// The envelope of an answer.
fn answering(request: &Envelope, codec: Str) -> Envelope {
    let mut envelope = Envelope::new(MessageId::new(), request.name.clone(), codec, Bytes::new());
    (envelope.correlation, envelope.causation) = (request.correlation, request.id);
    envelope
}

fn refused(request: &Envelope, error: &Error) -> Result<Vec<u8>> {
    let mut envelope = answering(request, Str::from_static("text"));
    envelope.headers.push(ERROR, error_type(error.kind()).as_bytes())?;
    envelope.payload = format!("{error:#}").into_bytes().into();
    envelope.encode()
}

/// Serves requests of others until the end is wanted; then finishes those at hand.
pub(crate) async fn serve(core: Arc<Core>, requests: BoxRequestReply, stop: Stopped) -> Result<()> {
    let subjects: Vec<Subject> =
        core.served.iter().flat_map(Served::names).map(|name| core.resources.subject(name)).collect();
    let mut server = requests.serve(&core.name.as_str().into(), &subjects).await?;
    let app = App(core);
    let (mut calls, mut failures) = (FuturesUnordered::new(), 0);
    loop {
        tokio::select! {
            biased;
            () = stop.wanted() => break,
            Some(()) = calls.next() => {}
            asked = server.next(), if calls.len() < CALLS => match asked {
                Ok(asked) => {
                    failures = 0;
                    calls.push(reply(&app, asked));
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = format_args!("{error:#}"), failures, "no requests of others");
                    stop.pause(TROUBLE.pause(failures)).await;
                }
            },
        }
    }
    // Nobody is asked who will not answer.
    drop(server);
    while calls.next().await.is_some() {}
    Ok(())
}

async fn reply(app: &App, asked: Asked) {
    let envelope = match Envelope::decode(&asked.frame) {
        Ok(envelope) => envelope,
        // Whoever sent this does not read our answers either.
        Err(error) => return tracing::warn!(error = format_args!("{error:#}"), "a request that cannot be read"),
    };
    let served = app.0.served.iter().find(|served| served.names().any(|name| envelope.name == name));
    let answered = match served {
        Some(served) => match AssertUnwindSafe((served.run)(app, &envelope)).catch_unwind().await {
            Ok(answered) => answered,
            Err(panicked) => Err(panic::error(&*panicked)),
        },
        None => Err(Error::new(ErrorKind::NoHandler, format!("`{}` is not served here", envelope.name))),
    };
    let frame = match answered {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => return tracing::debug!(request = %envelope.name, id = %envelope.id, "too late to be answered"),
        Err(error) => {
            tracing::debug!(request = %envelope.name, id = %envelope.id, error = format_args!("{error:#}"), "refused");
            refused(&envelope, &error)
        }
    };
    let sent = match frame {
        Ok(frame) => asked.reply(frame.into()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::warn!(request = %envelope.name, id = %envelope.id, error = format_args!("{error:#}"), "no answer went out");
    }
}
