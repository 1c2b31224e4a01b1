use crate::{Headers, MessageId, Str};
use std::time::SystemTime;

/// What a handler may know about the message at hand. Take it as a parameter of the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The message's id; that of a request that came by a direct call is made when somebody first asks.
    pub id: MessageId,
    /// The conversation: the id of the message that began it.
    pub correlation: MessageId,
    /// The message that caused this one; [`MessageId::NIL`] where there was none.
    pub causation: MessageId,
    /// 1 on the first try that was started.
    pub attempt: u32,
    /// When the answer is of no more use.
    pub deadline: Option<SystemTime>,
    /// The consumer's durable name, such as `shop.mail`; empty in a direct call.
    pub consumer: Str,
    /// The message's headers.
    pub headers: Headers,
    /// Who asks, as the caller of a direct call said: a user's or a service's name.
    pub principal: Option<Str>,
    /// Which attempt of the caller this is: equal keys ask for one effect.
    pub idempotency_key: Option<Str>,
}

/// What the caller of a request may say beside it.
///
/// ```
/// use catga_contract::SendOptions;
/// use std::time::{Duration, SystemTime};
///
/// let options = SendOptions {
///     idempotency_key: Some("order-17".into()),
///     deadline: Some(SystemTime::now() + Duration::from_secs(2)),
///     ..Default::default()
/// };
/// assert!(options.principal.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// Equal keys ask for one effect; behaviors that know of it answer the second with the first one's answer.
    pub idempotency_key: Option<Str>,
    /// When the answer is of no more use: the call ends with `Timeout` then. Default: never.
    pub deadline: Option<SystemTime>,
    /// The conversation that the request belongs to. Default: it begins one.
    pub correlation: Option<MessageId>,
    /// Headers for the handler.
    pub headers: Headers,
    /// Who asks.
    pub principal: Option<Str>,
    /// W3C trace context, as it stands on the wire; what the handler publishes carries it on.
    pub trace: Option<[u8; 55]>,
}
