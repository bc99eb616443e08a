//! Plants one of the engine's bugs in this process, chosen by an environment variable. Only
//! with the feature `planted-bugs`, for those who test the tests.

use escapement_engine::planted::{Bug, CAN_PLANT, VARIABLE, plant};

/// Plants the bug that the environment names, if it names one.
///
/// # Errors
/// When no bug has that name, or this build plants none.
pub fn from_environment() -> Result<Option<Bug>, String> {
    let Some(name) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let name = name.to_string_lossy();
    if !CAN_PLANT {
        return Err(format!("{VARIABLE} is `{name}`, but a build without debug assertions plants no bugs"));
    }
    let Some(bug) = Bug::named(&name) else {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        return Err(format!("{VARIABLE} is `{name}`, but must be one of {}", names.join(", ")));
    };
    plant(Some(bug));
    Ok(Some(bug))
}
