use catga_contract::{
    Behavior, Call, Codec, Context, Envelope, Handler, Outgoing, Result, Str, Subject, UnitOfWork, Wire,
};

/// Keeps the message in a store's outbox before the handler runs, in a commit of its own; the relay hands it over to
/// the consumers and removes it.
///
/// **This is not atomic with what the handler writes.** The message leaves although the handler fails afterwards, and
/// a crash in between leaves the message without its effect. Where both must happen or neither, take a
/// [`Tx`](crate::Tx) and publish with it: that is one commit.
///
/// It is for handlers in process whose message others shall see as well, whatever comes of it here: an audit, a copy
/// for another service. The message keeps its id, so a consumer whose handler takes a `Tx` handles it once even where
/// it was kept twice; put it outside [`Retry`](super::Retry), or each try keeps it again.
///
/// A delivery was kept before it came. It goes on only where [`to`](Self::to) names another subject, for on its own it
/// would come back for ever; then the copy commits with the delivery.
///
/// ```
/// use catga::{App, Request, Tx, behavior::Outbox, sqlite::Sqlite};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Request, Serialize, Deserialize)]
/// #[catga(name = "orders.place")]
/// struct PlaceOrder(String);
///
/// async fn place(_: PlaceOrder) -> catga::Result<()> {
///     Ok(())
/// }
///
/// async fn audit(PlaceOrder(sku): PlaceOrder, mut tx: Tx<Sqlite>) -> catga::Result<()> {
///     tx.execute("INSERT INTO audit (sku) VALUES (?1)", [sku])?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// use catga::HandlerExt;
/// let store = Sqlite::temporary().await?.migrate(&["CREATE TABLE audit (sku TEXT)"]).await?;
/// let kept = Outbox::new(store.clone());
/// let app = App::builder("shop").store(store.clone()).handle(place.with(kept)).on("audit", audit).build().await?;
/// app.send(PlaceOrder("A-1".into())).await?;
/// app.run_until_idle().await?;
/// assert_eq!(store.read(|db| db.query_row("SELECT sku FROM audit", (), |row| row.get::<_, String>(0)))?, "A-1");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The call fails before its handler runs where the message cannot be encoded or kept.
///
/// # Cancel safety
///
/// Dropped before the handler runs, it is unknown whether the message was kept.
#[derive(Clone, Debug)]
pub struct Outbox<S> {
    store: S,
    subject: Option<Subject>,
}

impl<S> Outbox<S> {
    /// Keeps messages in `store`, which must be one of the application's own: its relay empties the outbox.
    pub fn new(store: S) -> Self {
        Self { store, subject: None }
    }

    /// Sends them to that subject, at most 255 bytes, instead of `{prefix}.{name}`.
    #[must_use]
    pub fn to(self, subject: impl Into<Subject>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

impl<M: Wire, S: UnitOfWork + Clone> Behavior<M> for Outbox<S> {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let own = call.resources().subject(M::NAME);
        let delivered = !call.context().consumer.is_empty();
        let subject = self.subject.as_ref().unwrap_or(&own);
        if !delivered || *subject != own {
            self.keep(call, subject, &message)
                .await
                .map_err(|error| error.context(format_args!("keeping `{}` for its consumers", M::NAME)))?;
        }
        next.handle(call, message).await
    }
}

impl<S: UnitOfWork> Outbox<S> {
    async fn keep<M: Wire>(&self, call: &mut Call<'_>, subject: &Subject, message: &M) -> Result<()> {
        let (envelope, frame) = frame(call.context(), message)?;
        let kept = [Outgoing { id: envelope.id, subject, frame: &frame, key: envelope.key.as_ref(), due: None }];
        if let Some(unit) = call.open_unit::<S>() {
            // A second way to the writer would wait for itself.
            return self.store.put(unit.tx().await?, &kept).await;
        }
        let mut tx = self.store.begin().await?;
        self.store.put(&mut tx, &kept).await?;
        self.store.commit(tx).await
    }
}

/// The message as it goes on: with the id, conversation, headers and deadline that the call has.
fn frame<M: Wire>(context: &Context, message: &M) -> Result<(Envelope, Vec<u8>)> {
    let codec = Str::from_static(<M::Codec as Codec<M>>::NAME);
    let mut envelope = Envelope::new(context.id, Str::from_static(M::NAME), codec, Default::default());
    envelope.correlation = context.correlation;
    envelope.causation = context.causation;
    envelope.version = M::VERSION;
    envelope.key = message.key();
    envelope.deadline = context.deadline;
    envelope.headers = context.headers.clone();
    let mut frame = Vec::with_capacity(128 + <M::Codec as Codec<M>>::size_hint(message));
    envelope.encode_with(&mut frame, |out| <M::Codec as Codec<M>>::encode(message, out))?;
    Ok((envelope, frame))
}
