//! How git is told to read the token's file: by configuration in the environment (git 2.31 and newer,
//! <https://git-scm.com/docs/git-config#ENVIRONMENT>), so that no image and no home folder has to be changed.

use super::item::Literal;

/// The file below the folder of an ask.
pub(super) const FILE: &str = "token";

/// One setting of git's: name and value.
pub(super) type Setting = (Literal, Literal);

/// The settings by which git sends the token in `folder` to `host`, and to nobody else.
///
/// # Errors
/// As [`Literal::new`].
pub(super) fn settings(host: &str, folder: &str, ssh_rewrite: bool) -> Result<Vec<Setting>, serde_json::Error> {
    let helper = Literal::new(format!("credential.https://{host}.helper"))?;
    let mut found = vec![
        // The empty helper resets the list: one of the image's own would be asked first, and told what we answered.
        (helper.clone(), Literal::new(String::new())?),
        (helper, Literal::new(credential_helper(folder))?),
    ];
    if ssh_rewrite {
        // The port is that of HTTPS.
        let name = host.split(':').next().unwrap_or(host);
        let instead = Literal::new(format!("url.https://{host}/.insteadOf"))?;
        for remote in [format!("git@{name}:"), format!("ssh://git@{name}/")] {
            found.push((instead.clone(), Literal::new(remote)?));
        }
    }
    Ok(found)
}

/// A shell function, since git appends the operation as its argument. It reads the file on every call, so a rotated token is
/// used at once. It has no `$(`, which Kubernetes would expand
/// (<https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>); the folder has no
/// quotes, as the reader of `mount-path` sees to.
fn credential_helper(folder: &str) -> String {
    format!(
        "!f() {{ test \"$1\" = get || return 0; t=; read -r t 2>/dev/null <'{folder}/{FILE}'; test -n \"$t\" || return 0; \
         printf 'username=x-access-token\\npassword=%s\\n' \"$t\"; }}; f"
    )
}
