//! The sink of effects: a file to which handlers append task and token. As a fenced resource does,
//! it refuses a token that is not higher than the last one it saw; what it refuses stands in the file, too.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use escapement_engine::{TaskId, Token};

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

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
        let accepted = tokens.get(&id).is_none_or(|last| *last < token);
        if accepted {
            tokens.insert(id, token);
        }
        writeln!(file, "{id} {token} {}", if accepted { ACCEPTED } else { REFUSED }).unwrap();
        accepted
    }

    /// What the file holds: by task, in the order of the file, each token and whether it was accepted.
    pub(crate) fn read(&self) -> BTreeMap<TaskId, Vec<(Token, bool)>> {
        let mut effects = BTreeMap::<_, Vec<_>>::new();
        for line in std::fs::read_to_string(&self.path).unwrap().lines() {
            let [id, token, word] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            assert!(word == ACCEPTED || word == REFUSED, "{line}");
            effects.entry(id.parse().unwrap()).or_default().push((Token(token.parse().unwrap()), word == ACCEPTED));
        }
        effects
    }
}
