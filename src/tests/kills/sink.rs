//! The sink of effects: a file to which handlers append task and token, and which, as a
//! fenced resource does, refuses a token that is not higher than the last one it saw.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use escapement_engine::{TaskId, Token};

/// A fenced file.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    state: Mutex<(File, BTreeMap<TaskId, Token>)>,
}

impl Sink {
    pub(crate) fn new(path: &Path) -> Self {
        let file = OpenOptions::new().create_new(true).append(true).open(path).unwrap();
        Self { path: path.to_owned(), state: Mutex::new((file, BTreeMap::new())) }
    }

    /// Appends the effect, unless its token is stale.
    pub(crate) fn accept(&self, id: TaskId, token: Token) -> bool {
        let (file, tokens) = &mut *self.state.lock().unwrap();
        if tokens.get(&id).is_some_and(|last| *last >= token) {
            return false;
        }
        tokens.insert(id, token);
        writeln!(file, "{id} {token}").unwrap();
        true
    }

    /// What the file holds: tokens by task, in the order of the file.
    pub(crate) fn read(&self) -> BTreeMap<TaskId, Vec<Token>> {
        let mut effects = BTreeMap::<_, Vec<_>>::new();
        for line in std::fs::read_to_string(&self.path).unwrap().lines() {
            let (id, token) = line.split_once(' ').unwrap();
            effects.entry(id.parse().unwrap()).or_default().push(Token(token.parse().unwrap()));
        }
        effects
    }
}
