//! `escapement task list`.

use clap::{Args, ValueEnum};
use escapement_engine::{Timestamp, limits::PAGE_SIZE_MAX};
use serde_json::json;

use crate::{
    cli::{Context, error::CliError, output::table, values, view::task::TaskView},
    client::{TaskFilter, proto as v1},
};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Scheduled,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    #[value(alias = "dead_lettered")]
    DeadLettered,
}

impl From<State> for v1::TaskState {
    fn from(state: State) -> Self {
        match state {
            State::Scheduled => Self::Scheduled,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
            State::DeadLettered => Self::DeadLettered,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// In this state; may be repeated
    #[arg(long = "state", value_enum, value_name = "STATE")]
    states: Vec<State>,
    /// Of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// With this label; may be repeated, then with all of them
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Made by this schedule
    #[arg(long, value_name = "ID")]
    schedule: Option<String>,
    /// Due at this instant or later (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    due_from: Option<Timestamp>,
    /// Due before this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    due_until: Option<Timestamp>,
    /// Rows, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Go on where the last list ended, with the same filters
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
    /// Every row there is
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl ListArgs {
    fn filter(&self) -> TaskFilter {
        let mut filter = TaskFilter::new();
        if let Some(queue) = &self.queue {
            filter = filter.queue(queue);
        }
        if let Some(id) = &self.schedule {
            filter = filter.schedule(id);
        }
        if let Some(at) = self.due_from {
            filter = filter.due_from(at);
        }
        if let Some(at) = self.due_until {
            filter = filter.due_until(at);
        }
        filter = self.states.iter().fold(filter, |filter, state| filter.state((*state).into()));
        self.labels.iter().fold(filter, |filter, (key, value)| filter.label(key, value))
    }
}

pub(super) async fn run(args: &ListArgs, context: &Context) -> Result<u8, CliError> {
    values::labels_once(&args.labels)?;
    let client = context.client()?;
    let mut rows = Rows { context, printed: 0 };
    let mut left = if args.all { u32::MAX } else { args.limit };
    let mut token = Some(args.page_token.clone().unwrap_or_default());
    let filter = args.filter();
    // Page by page to the terminal: memory holds one page, however long the list is.
    while let Some(from) = token.take().filter(|_| left > 0) {
        let filter = filter.clone().page_size(left.min(PAGE_SIZE_MAX));
        let (tasks, next) = client.list_page(&filter, &from).await?;
        if !args.all {
            left = left.saturating_sub(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        }
        rows.print(&tasks);
        token = next;
        if left == 0 {
            break;
        }
    }
    // A full page has a token whether or not rows follow: one row more tells.
    if let Some(from) = &token
        && let (tasks, None) = client.list_page(&filter.page_size(1), from).await?
        && tasks.is_empty()
    {
        token = None;
    }
    rows.end(token);
    Ok(0)
}

struct Rows<'a> {
    context: &'a Context,
    printed: u64,
}

impl Rows<'_> {
    fn print(&mut self, tasks: &[v1::Task]) {
        let ui = &self.context.ui;
        let views = tasks.iter().map(TaskView::of);
        if ui.is_json() {
            for view in views {
                // The comma belongs to the row before: it is known only now that one follows.
                let row = serde_json::to_string(&view).expect("views have text keys and finite numbers");
                ui.print(format_args!("{} {row}", if self.printed == 0 { "[" } else { "," }));
                self.printed += 1;
            }
        } else if !tasks.is_empty() {
            ui.print(table((self.printed == 0).then_some(TaskView::COLUMNS), views.map(|view| view.row())));
            self.printed += u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        }
    }

    fn end(self, next: Option<String>) {
        let ui = &self.context.ui;
        match (ui.is_json(), self.printed) {
            (true, 0) => ui.print("[]"),
            (true, _) => ui.print("]"),
            (false, 0) => ui.note("no such tasks"),
            (false, _) => {}
        }
        match next {
            Some(token) if ui.is_json() => ui.note(json!({"next_page_token": token})),
            Some(token) => ui.note(format_args!("there are more: --page-token {token}")),
            None => {}
        }
    }
}
