//! The first API keys: one of each role, shown once.

use gateway::auth::{Keys, KeysError, NewKey, Role, Token};

/// The customer that the first key of the role `customer` speaks for.
const CUSTOMER: &str = "customer-1";

/// A key and its token, which is kept nowhere.
pub(crate) struct FirstKey {
    pub(crate) role: Role,
    pub(crate) token: Token,
}

/// Makes one key of each role.
pub(crate) async fn issue(keys: &dyn Keys, name: &str) -> Result<Vec<FirstKey>, KeysError> {
    let mut issued = Vec::new();
    for role in Role::ALL {
        let token = Token::random();
        let subject = (role == Role::Customer).then(|| CUSTOMER.to_owned());
        let key = NewKey { name: format!("{name} {role}"), role, subject };
        keys.create(key, token.hash()).await?;
        issued.push(FirstKey { role, token });
    }
    Ok(issued)
}

/// Revokes what [`issue`] made under this name before: nobody has those tokens any more.
pub(crate) async fn revoke(keys: &dyn Keys, name: &str) -> Result<(), KeysError> {
    let names = Role::ALL.map(|role| format!("{name} {role}"));
    for key in keys.list().await? {
        if key.revoked_at.is_none() && names.contains(&key.name) {
            keys.revoke(key.id).await?;
        }
    }
    Ok(())
}

/// Shows them to the person at the terminal.
pub(crate) fn print(issued: &[FirstKey]) {
    eprintln!("API keys, shown only this once (`amends keys` makes and revokes more):");
    for FirstKey { role, token } in issued {
        let note = match role {
            Role::Customer => format!("  (speaks for {CUSTOMER})"),
            _ => String::new(),
        };
        eprintln!("  {:<9} {}{note}", role.name(), token.expose());
    }
}
