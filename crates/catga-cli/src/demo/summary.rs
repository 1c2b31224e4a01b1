//! Everything that a run counted, and whether it is a success.

use super::{
    check::{Count, Findings},
    director::{Director, Totals},
    effects::Kind,
    report::grouped,
};
use serde::Serialize;

/// Everything that was counted; with `--json` this is the one object.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Orders that were answered with ok.
    pub(super) orders: u64,
    /// Distinct events that reached a handler, by the reports of started deliveries.
    pub(super) events: u64,
    /// Rows that must follow from the ok answers.
    pub(super) effects_expected: u64,
    /// Rows in the store.
    pub(super) effects_found: u64,
    /// Expected rows that are missing.
    pub(super) lost: u64,
    /// Rows beyond the expected ones, of orders that stand.
    pub(super) doubled: u64,
    /// Rows of orders that nobody was told to stand.
    pub(super) phantom: u64,
    /// Orders of which some rows are as many as they must, with other contents.
    pub(super) altered: u64,
    /// Orders of unknown end that have the effects of some consumers and not of others.
    pub(super) torn: u64,
    /// Orders that stood after nothing but failed answers.
    pub(super) kept_after_failure: u64,
    /// Handler starts beyond the first of their delivery.
    pub(super) redelivered: u64,
    /// Parcels that were handed over twice under one id.
    pub(super) duplicates: u64,
    /// Attempts whose answer died with a worker: those that had placed their order, those that had left nothing, and
    /// orders of which that is still unknown.
    pub(super) unknown_kept: u64,
    pub(super) unknown_gone: u64,
    pub(super) unknown_open: u64,
    /// Attempts that were answered with a failure, or with a refusal.
    pub(super) failed: u64,
    pub(super) refused: u64,
    /// Lines of the input that are no order, and lines with an order that came before.
    pub(super) rejected: u64,
    pub(super) repeated: u64,
    /// Kills that hit started work, how many deliveries each found started and uncommitted, and kills that found none.
    pub(super) kills: u64,
    pub(super) per_kill: Vec<u64>,
    pub(super) kills_missed: u64,
    /// Workers that ended by themselves.
    pub(super) crashes: u64,
    /// Deliveries that became dead letters, by the reports, and dead letters in the store.
    pub(super) buried: u64,
    pub(super) letters: u64,
    /// What waits in the store at the end.
    pub(super) left_in_outbox: u64,
    pub(super) left_in_queue: u64,
    /// From the first worker's readiness until nothing waited any more.
    pub(super) seconds: f64,
    pub(super) orders_per_second: f64,
    /// From the commit of an order to the commit of an effect of a consumer; none was measured if null.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    /// The longest time from the start of a killed worker's successor to its first commit.
    pub(super) resumed_us: u64,
    /// Memory of the first worker when it was ready and of the last one when it ended, in bytes.
    pub(super) rss_start: u64,
    pub(super) rss_end: u64,
    /// Why this run is no success; empty if it is one.
    pub(super) problems: Vec<String>,
    #[serde(skip)]
    pub(super) by_kind: [Count; Kind::ALL.len()],
}

impl Summary {
    /// Puts together what the run and the checker counted.
    pub(crate) fn new(run: &Director<'_>, findings: &Findings) -> Self {
        let (counts, total, totals) = (run.journal.counts(), findings.total(), &run.totals);
        let Totals { rejected, repeated, duplicates, rss_start, rss_end, crashes, .. } = *totals;
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        let seconds = rounded(totals.time.as_secs_f64());
        let mut summary = Self {
            orders: counts.ok,
            events: run.deliveries.events(),
            effects_expected: total.expected,
            effects_found: total.found,
            lost: total.lost,
            doubled: total.doubled,
            phantom: total.phantom,
            altered: total.altered,
            torn: findings.torn,
            kept_after_failure: counts.kept_after_failure,
            redelivered: run.deliveries.redelivered(),
            duplicates,
            unknown_kept: counts.unknown_kept,
            unknown_gone: counts.unknown_gone,
            unknown_open: run.journal.unresolved(),
            failed: counts.failed,
            refused: counts.refused,
            rejected,
            repeated,
            kills: run.kills.per_kill().len() as u64,
            per_kill: run.kills.per_kill().to_vec(),
            kills_missed: run.kills.missed(),
            crashes,
            buried: run.deliveries.buried(),
            letters: findings.letters,
            left_in_outbox: findings.in_outbox,
            left_in_queue: findings.in_queue,
            seconds,
            orders_per_second: if seconds > 0.0 { rounded(counts.ok as f64 / seconds) } else { 0.0 },
            p50_us: run.deliveries.latency_us(0.50),
            p99_us: run.deliveries.latency_us(0.99),
            resumed_us: u64::try_from(totals.resumed.as_micros()).unwrap_or(u64::MAX),
            rss_start,
            rss_end,
            problems: totals.problems.clone(),
            by_kind: findings.by_kind,
        };
        summary.judge();
        summary
    }

    /// Names what must not be.
    fn judge(&mut self) {
        let must_be_none = [
            (self.lost, "effects were lost"),
            (self.doubled, "effects happened more than once"),
            (self.phantom, "effects belong to orders that nobody was told to stand"),
            (self.altered, "times an order's rows say something else than the order"),
            (self.torn, "orders of unknown end have some of their effects"),
            (self.kept_after_failure, "orders stood after they were answered with a failure"),
            (self.unknown_open, "orders were never answered after their worker died"),
            (self.letters.max(self.buried), "messages became dead letters"),
            (self.left_in_outbox, "messages never left the outbox"),
            (self.left_in_queue, "deliveries were never settled"),
        ];
        for (count, what) in must_be_none {
            if count > 0 {
                self.problems.push(format!("{} {what}", grouped(count)));
            }
        }
    }

    /// Whether nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("it is plain data: {error}"))
    }
}
