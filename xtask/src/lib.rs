//! The pages of the book and the README, so that `cargo test` compiles and runs the programs on them. Nothing else is
//! in this library; the commands are the program.
#![forbid(unsafe_code)]

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!($path)]
            mod $name {}
        )*
    };
}

pages! {
    readme: "../../README.md",
    introduction: "../../docs/src/introduction.md",
    first: "../../docs/src/first.md",
    messages: "../../docs/src/messages.md",
    handlers: "../../docs/src/handlers.md",
    consumers: "../../docs/src/consumers.md",
    event_streams: "../../docs/src/event-streams.md",
    requests: "../../docs/src/requests.md",
    behaviors: "../../docs/src/behaviors.md",
    memory_store: "../../docs/src/memory-store.md",
    axum: "../../docs/src/axum.md",
    memorypack: "../../docs/src/memorypack.md",
    operating: "../../docs/src/operating.md",
    defaults: "../../docs/src/defaults.md",
    memory: "../../docs/src/memory.md",
    guarantees: "../../docs/src/guarantees.md",
    frame: "../../docs/src/frame.md",
}
