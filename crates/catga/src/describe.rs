//! What an application is made of, for people and programs.

use crate::{
    App,
    handlers::{About, Consumer},
};
use catga_contract::{Capabilities, Durability, Order, Transport};
use std::fmt;

impl App {
    /// What this application handles, consumes and keeps, and what that promises. It prints as text; with the feature
    /// `json`, [`Description::to_json`] is the same for programs. `build()` keeps it in each store, where
    /// `catga describe --store FILE` reads it.
    pub fn describe(&self) -> Description {
        let core = &self.0;
        let handlers = core.about.iter().map(HandlerLine::of).collect();
        let line = |consumer: &Consumer, once| ConsumerLine {
            name: consumer.name.to_string(),
            paused: core.pause_of(&consumer.name),
            effects: match consumer.unit {
                Some(_) => once,
                None => "at least once: its handlers take no `Tx`",
            },
            messages: consumer
                .routes
                .iter()
                .map(|route| MessageLine {
                    name: route.about.message,
                    version: route.version,
                    aliases: route.aliases.to_vec(),
                    codec: route.codec,
                    subject: core.resources.subject(route.about.message).to_string(),
                    handler: HandlerLine::of(&route.about),
                })
                .collect(),
        };
        let consumed = "once: mark, writes, messages and acknowledgement are one commit";
        let consumers = core.consumers.iter().map(|consumer| line(consumer, consumed));
        let followed = "once: writes, messages and place are one commit";
        let followers = core.followers.iter().map(|follower| line(&follower.consumer, followed));
        Description {
            application: core.name.clone(),
            handlers,
            consumers: consumers.collect(),
            followers: followers.collect(),
            stores: core.stores.iter().map(|store| store.name()).collect(),
            transport: core.transport.as_ref().map(Transport::capabilities),
            attempts: core.backoff.attempts,
        }
    }
}

/// An application in words: see [`App::describe`].
#[derive(Clone, Debug)]
pub struct Description {
    application: String,
    handlers: Vec<HandlerLine>,
    consumers: Vec<ConsumerLine>,
    followers: Vec<ConsumerLine>,
    stores: Vec<&'static str>,
    transport: Option<Capabilities>,
    attempts: u32,
}

#[derive(Clone, Debug)]
struct HandlerLine {
    message: &'static str,
    handler: &'static str,
    /// The outermost first.
    behaviors: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct ConsumerLine {
    name: String,
    paused: Option<String>,
    effects: &'static str,
    messages: Vec<MessageLine>,
}

#[derive(Clone, Debug)]
struct MessageLine {
    name: &'static str,
    version: u16,
    aliases: Vec<&'static str>,
    codec: &'static str,
    subject: String,
    handler: HandlerLine,
}

impl HandlerLine {
    fn of(about: &About) -> Self {
        Self { message: about.message, handler: about.handler, behaviors: about.behaviors.clone() }
    }
}

/// What the transport promises, in a sentence.
fn promise(capabilities: &Capabilities) -> String {
    let kept = match capabilities.durable {
        Durability::None => "kept nowhere",
        Durability::Process => "kept until the process ends",
        Durability::Replicated => "kept while one replica lives",
        Durability::Disk => "kept on disk",
        _ => "kept as the transport says",
    };
    let comes = if capabilities.redelivery { "at least once" } else { "at most once" };
    let order = match capabilities.order {
        Order::None => "in any order",
        Order::Stream => "in the order of publishing until one fails",
        Order::Key => "in the order of publishing for each key",
        _ => "in the transport's order",
    };
    format!("{kept}, delivered {comes}, {order}, at most {} bytes", capabilities.max_payload)
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "application {}", self.application)?;
        for store in &self.stores {
            writeln!(f, "store       {store}")?;
        }
        if let Some(capabilities) = &self.transport {
            writeln!(f, "transport   {}", promise(capabilities))?;
        }
        for line in &self.handlers {
            writeln!(f, "handles     {}{}", line.message, line)?;
        }
        for consumer in &self.consumers {
            writeln!(f, "consumer    {}: effects {}, {} attempts", consumer.name, consumer.effects, self.attempts)?;
            for message in &consumer.messages {
                let MessageLine { name, version, codec, subject, handler, .. } = message;
                writeln!(f, "  takes     {name} version {version} in {codec} from {subject}{handler}")?;
                for alias in &message.aliases {
                    writeln!(f, "            also under its old name {alias}")?;
                }
            }
            if let Some(report) = &consumer.paused {
                writeln!(f, "  PAUSED    {report}")?;
            }
        }
        for follower in &self.followers {
            writeln!(f, "follower    {}: effects {}, {} attempts", follower.name, follower.effects, self.attempts)?;
            for message in &follower.messages {
                let MessageLine { name, version, codec, handler, .. } = message;
                writeln!(f, "  follows   {name} version {version} in {codec}{handler}")?;
                for alias in &message.aliases {
                    writeln!(f, "            also under its old name {alias}")?;
                }
            }
            if let Some(report) = &follower.paused {
                writeln!(f, "  PAUSED    {report}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for HandlerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.behaviors.iter().try_for_each(|behavior| write!(f, " > {}", short(behavior)))?;
        write!(f, " > {}", self.handler)
    }
}

/// The name of a type without the path in front of it.
pub(crate) fn short(name: &str) -> &str {
    let end = name.find('<').unwrap_or(name.len());
    let start = name[..end].rfind("::").map_or(0, |at| at + 2);
    &name[start..]
}

#[cfg(feature = "json")]
impl Description {
    /// The description as one JSON object.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let app = catga::App::builder("shop").build().await?;
    /// assert_eq!(app.describe().to_json()["application"], "shop");
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::json;
        let handler =
            |line: &HandlerLine| json!({"message": line.message, "handler": line.handler, "behaviors": line.behaviors});
        let message = |line: &MessageLine| {
            json!({
                "name": line.name, "version": line.version, "aliases": line.aliases, "codec": line.codec,
                "subject": line.subject, "handler": line.handler.handler, "behaviors": line.handler.behaviors,
            })
        };
        let consumer = |line: &ConsumerLine| {
            let messages: Vec<_> = line.messages.iter().map(message).collect();
            json!({"name": line.name, "effects": line.effects, "paused": line.paused, "messages": messages})
        };
        json!({
            "application": self.application,
            "stores": self.stores,
            "transport": self.transport.as_ref().map(promise),
            "attempts": self.attempts,
            "handlers": self.handlers.iter().map(handler).collect::<Vec<_>>(),
            "consumers": self.consumers.iter().map(consumer).collect::<Vec<_>>(),
            "followers": self.followers.iter().map(consumer).collect::<Vec<_>>(),
        })
    }
}
