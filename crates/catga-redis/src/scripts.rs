//! The scripts: sent once, then called by their hash; a server that was restarted gets them again.

use redis::Script;
use std::sync::LazyLock;

macro_rules! scripts {
    ($($name:ident: $($file:literal)*;)*) => {
        pub(crate) struct Scripts { $(pub(crate) $name: Script,)* }

        pub(crate) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
            $($name: Script::new(concat!(include_str!("lua/common.lua"), $(include_str!(concat!("lua/", $file))),*)),)*
        });
    };
}

scripts! {
    publish: "publish.lua";
    register: "register.lua";
    settle: "settle.lua";
    take: "take.lua";
    start: "start.lua";
    beat: "beat.lua";
    unsettled: "unsettled.lua";
    remove: "remove.lua";
    append: "append.lua";
    read_all: "read_all.lua";
    claim: "claim.lua";
    finish: "finish.lua";
    look: "look.lua";
    save: "save.lua";
    bury: "letters.lua" "bury.lua";
    replay: "replay.lua";
    lease: "outbox.lua" "lease.lua";
    watch: "outbox.lua" "watch.lua";
    pending: "outbox.lua" "pending.lua";
    sent: "outbox.lua" "sent.lua";
    failed: "outbox.lua" "failed.lua";
    commit: "outbox.lua" "letters.lua" "commit.lua";
}
