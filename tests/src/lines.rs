//! What the machines log: an ERROR fails the run, the rest goes into the record.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::trace::Record;

/// The lines of this thread, from creation to drop.
#[derive(Debug)]
pub struct Lines {
    errors: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Lines {
    /// Begins to listen.
    #[must_use]
    pub fn listen(record: Option<Record>) -> Self {
        let errors = Arc::default();
        let listener = Listener {
            errors: Arc::clone(&errors),
            record,
        };
        Self {
            errors,
            _guard: tracing::subscriber::set_default(listener),
        }
    }

    /// # Panics
    /// If an ERROR was logged: by that word a machine says that it is broken.
    pub fn assert_no_error(&self) {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(errors.is_empty(), "logged as ERROR: {errors:?}");
    }
}

struct Listener {
    errors: Arc<Mutex<Vec<String>>>,
    record: Option<Record>,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.record.is_some() || *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.record {
            Some(_) => LevelFilter::TRACE,
            None => LevelFilter::ERROR,
        })
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("    {}", event.metadata().level()));
        event.record(&mut line);
        if let Some(record) = &self.record {
            record.push(line.0.clone());
        }
        if *event.metadata().level() == Level::ERROR {
            let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.push(line.0);
        }
    }
}

/// One line, as an operator would read it.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
