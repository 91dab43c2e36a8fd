//! What was said wrong, on the command line or in the environment, and what an error tells the shell.

use activities::payment_gateway::settings::SettingsErrors;
use gateway::cli::Exit;
use gateway::config::ConfigError;

/// It was said wrong: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct Usage(pub(crate) anyhow::Error);

/// What an error tells the shell.
pub(crate) fn exit_code(error: &anyhow::Error) -> Exit {
    let is_any = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if is_any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut)
        )
    }) {
        Exit::Unreachable
    } else if is_any(|cause| {
        cause.is::<Usage>()
            || cause.is::<SettingsErrors>()
            || cause.is::<ConfigError>()
            || matches!(cause.downcast_ref(), Some(local_postgres::Error::BinariesVariable { .. }))
    }) {
        Exit::Usage
    } else {
        Exit::Unexpected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_has_an_exit_code_of_its_own() {
        let away = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        let error = anyhow::Error::new(away).context("the inventory database is away");
        assert_eq!(exit_code(&error), Exit::Unreachable);
        assert_eq!(exit_code(&anyhow::anyhow!("else")), Exit::Unexpected);
    }

    #[test]
    fn what_was_said_wrong_has_the_exit_code_of_a_wrong_argument() {
        let wrong = Usage(anyhow::anyhow!("PORT is x").context("it can not be read"));
        assert_eq!(wrong.to_string(), "it can not be read: PORT is x");
        assert_eq!(exit_code(&wrong.into()), Exit::Usage);
    }
}
