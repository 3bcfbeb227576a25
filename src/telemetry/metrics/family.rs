//! Handles to the series of a metric, taken once: counting then looks nothing up and allocates nothing.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    catalogue::Metric,
    words::{Label, Values},
};

impl Metric {
    /// The series with these labels, in the order of the catalogue.
    pub(super) fn counter(&self, values: &[&str]) -> Counter {
        counter!(self.name, self.labelled(values))
    }

    /// As [`Metric::counter`].
    pub(super) fn gauge(&self, values: &[&str]) -> Gauge {
        gauge!(self.name, self.labelled(values))
    }

    /// As [`Metric::counter`].
    pub(super) fn histogram(&self, values: &[&str]) -> Histogram {
        histogram!(self.name, self.labelled(values))
    }

    fn labelled(&self, values: &[&str]) -> Vec<metrics::Label> {
        let pairs = self.labels.iter().zip(values);
        pairs.map(|(label, value)| metrics::Label::new(label.name, (*value).to_owned())).collect()
    }
}

/// A counter for each combination of fixed words, all of which exist from now on.
pub(super) struct Counters {
    metric: &'static Metric,
    /// The labels out of the configuration, which come first.
    given: Box<[Box<str>]>,
    handles: Box<[Counter]>,
}

impl Counters {
    /// `given` are the values of the first labels; the others must have fixed words.
    pub(super) fn of(metric: &'static Metric, given: &[&str]) -> Self {
        let combinations = combinations(metric.labels.iter().skip(given.len()));
        let series = |words: &Vec<&str>| metric.counter(&[given, words].concat());
        Self {
            metric,
            given: given.iter().map(|value| (*value).into()).collect(),
            handles: combinations.iter().map(series).collect(),
        }
    }

    /// One more.
    pub(super) fn count<const N: usize>(&self, words: [&str; N]) {
        self.add(words, 1);
    }

    pub(super) fn add<const N: usize>(&self, words: [&str; N], count: u64) {
        match self.position(words).and_then(|position| self.handles.get(position)) {
            Some(handle) => handle.increment(count),
            // A word that the catalogue lacks: a test finds it, and nothing is lost meanwhile.
            None => {
                let given: Vec<&str> = self.given.iter().map(|value| &**value).collect();
                self.metric.counter(&[&given[..], &words].concat()).increment(count);
            }
        }
    }

    fn position<const N: usize>(&self, words: [&str; N]) -> Option<usize> {
        let labels = self.metric.labels.iter().skip(self.given.len());
        labels.zip(words).try_fold(0, |position, (label, word)| {
            let known = fixed(label);
            Some(position * known.len() + known.iter().position(|known| same(known, word))?)
        })
    }
}

/// Most words are constants, and the same one is at the same place.
fn same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

fn combinations<'a>(labels: impl Iterator<Item = &'a Label>) -> Vec<Vec<&'static str>> {
    labels.fold(vec![Vec::new()], |so_far, label| {
        let with = |begun: &Vec<&'static str>| {
            let begun = begun.clone();
            fixed(label).iter().map(move |word| [&begun[..], &[*word]].concat()).collect::<Vec<_>>()
        };
        so_far.iter().flat_map(with).collect()
    })
}

fn fixed(label: &Label) -> &'static [&'static str] {
    match label.values {
        Values::Fixed(words) => words,
        Values::Configured(_) | Values::Status => &[],
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{super::catalogue, *};

    #[test]
    fn every_combination_of_words_is_there_from_the_start_and_counts_for_itself() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let resumes =
            metrics::with_local_recorder(&recorder, || Counters::of(&catalogue::UPSTREAM_RESUMES, &["r", "s"]));
        assert_eq!(recorder.handle().render().lines().filter(|line| line.ends_with("} 0")).count(), 6);
        metrics::with_local_recorder(&recorder, || {
            resumes.count(["silent", "lost"]);
            resumes.add(["broken", "resumed"], 2);
            resumes.count(["unheard of", "lost"]);
        });
        let text = recorder.handle().render();
        let line = |reason, outcome, count| {
            format!(
                "portcullis_upstream_resumes_total{{registry=\"r\",server=\"s\",reason=\"{reason}\",outcome=\"{outcome}\"}} {count}\n"
            )
        };
        for line in [line("silent", "lost", 1), line("broken", "resumed", 2), line("unheard of", "lost", 1)] {
            assert!(text.contains(&line), "{text}");
        }
        assert_eq!(text.lines().filter(|line| line.ends_with("} 0")).count(), 4);
    }
}
