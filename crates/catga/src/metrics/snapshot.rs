//! What was counted at one moment, and how it is written.

use super::help;
use std::{
    fmt::{self, Write},
    sync::Arc,
};

/// The upper bounds of the histograms' buckets, in seconds, as the conventions advise.
pub(super) const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What [`App::metrics`](crate::App::metrics) found; cheap to clone. It prints one line for each series.
#[derive(Clone, Debug)]
pub struct Metrics(pub(super) Arc<[Sample]>);

#[derive(Debug)]
pub(crate) struct Sample {
    pub(super) name: &'static str,
    attributes: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(u64),
    Durations { buckets: [u64; BOUNDS.len() + 1], seconds: f64 },
}

impl Value {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Counter(count) | Self::Gauge(count) => *count,
            Self::Durations { buckets, .. } => buckets.iter().sum(),
        }
    }
}

impl Sample {
    pub(super) fn new(
        name: &'static str,
        attributes: impl IntoIterator<Item = (&'static str, String)>,
        value: Value,
    ) -> Self {
        Self { name, attributes: attributes.into_iter().collect(), value }
    }

    pub(super) fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes.iter().find(|(name, _)| *name == attribute).map_or("", |(_, value)| value) == value
    }
}

impl Metrics {
    /// The sum over the series of that name with all these attributes; of durations, how many there were. An empty
    /// value means that the attribute is absent, so `("error.type", "")` asks for what went well.
    pub fn count(&self, name: &str, attributes: &[(&str, &str)]) -> u64 {
        let fits = |sample: &&Sample| {
            sample.name == name && attributes.iter().all(|(attribute, value)| sample.is(attribute, value))
        };
        self.0.iter().filter(fits).map(|sample| sample.value.count()).sum()
    }

    /// The text that Prometheus scrapes, of the type `text/plain; version=0.0.4`. As OpenTelemetry's exporters do, it
    /// writes `_` for the dots in names, and counters end in `_total`, durations in `_seconds`.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        let _ =
            self.0.chunk_by(|one, other| one.name == other.name).try_for_each(|family| prometheus(family, &mut text));
        text
    }
}

fn prometheus(family: &[Sample], out: &mut String) -> fmt::Result {
    let Some(Sample { name, value, .. }) = family.first() else { return Ok(()) };
    let (kind, ending) = match value {
        Value::Counter(_) => ("counter", "_total"),
        Value::Gauge(_) => ("gauge", ""),
        Value::Durations { .. } => ("histogram", "_seconds"),
    };
    let full = format!("{}{ending}", name.replace('.', "_"));
    writeln!(out, "# HELP {full} {}\n# TYPE {full} {kind}", help(name))?;
    for Sample { attributes, value, .. } in family {
        let mut labels = String::new();
        for (name, value) in attributes {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            write!(labels, "{}{}=\"{value}\"", if labels.is_empty() { "" } else { "," }, name.replace('.', "_"))?;
        }
        let Value::Durations { buckets, seconds } = value else {
            writeln!(out, "{full}{{{labels}}} {}", value.count())?;
            continue;
        };
        let mut up_to = 0;
        for (at, count) in buckets.iter().enumerate() {
            up_to += count;
            let bound = BOUNDS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            writeln!(out, "{full}_bucket{{{labels},le=\"{bound}\"}} {up_to}")?;
        }
        writeln!(out, "{full}_sum{{{labels}}} {seconds}\n{full}_count{{{labels}}} {up_to}")?;
    }
    Ok(())
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sample { name, attributes, value } in &*self.0 {
            write!(f, "{name}")?;
            attributes.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
            match value {
                Value::Durations { seconds, .. } => writeln!(f, ": {} in {seconds} s", value.count())?,
                _ => writeln!(f, ": {}", value.count())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{BURIED, GROUP},
        *,
    };

    #[test]
    fn labels_are_escaped() {
        let sample = Sample::new(BURIED, [(GROUP, "a\\b\"c\nd".to_owned())], Value::Counter(1));
        let text = Metrics([sample].into()).to_prometheus();
        let line = r#"catga_dlq_buried_total{messaging_consumer_group_name="a\\b\"c\nd"} 1"#;
        assert_eq!(text.lines().last(), Some(line));
    }
}
