//! Git over HTTP: `git http-backend` with the rights of the token that is the password.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::answer::{Answer, raw, set, status, text};
use super::call::{Call, Credentials};
use super::digest::random_string;
use super::settings::Level;
use super::shared::{Access, Denied};
use super::world::{Found, Place};

/// No git command of the lab runs longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// The bare repositories: made when they are first asked for, removed with the stand-in.
pub(super) struct GitStore {
    root: PathBuf,
    made: Mutex<HashSet<u64>>,
}

impl GitStore {
    pub fn new() -> io::Result<Self> {
        let root = std::env::temp_dir().join(format!("github-standin-{}", random_string(12)));
        std::fs::create_dir(&root)?;
        Ok(Self {
            root,
            made: Mutex::default(),
        })
    }

    /// The repository's directory, made with a commit on `main` if need be.
    async fn directory(&self, found: &Found) -> io::Result<PathBuf> {
        let id = found.repository.id;
        let directory = self.root.join(format!("{id}.git"));
        let mut made = self.made.lock().await;
        if !made.contains(&id) {
            let path = directory.to_string_lossy().into_owned();
            run(
                git(["init", "--quiet", "--bare", "--initial-branch=main", &path]),
                Bytes::new(),
            )
            .await?;
            run(git(["-C", &path, "config", "http.receivepack", "true"]), Bytes::new()).await?;
            let readme = format!("# {}/{}\n", found.account.account, found.repository.name);
            let commit = format!(
                "commit refs/heads/main\ncommitter GitHub <noreply@github.com> 1704067200 +0000\n\
                 data 14\nInitial commit\nM 644 inline README.md\ndata {}\n{readme}\n",
                readme.len()
            );
            run(git(["-C", &path, "fast-import", "--quiet"]), commit.into()).await?;
            made.insert(id);
        }
        Ok(directory)
    }

    /// The commit that a branch points to.
    pub async fn branch(&self, found: &Found, branch: &str) -> io::Result<Option<String>> {
        let path = self.directory(found).await?.to_string_lossy().into_owned();
        let reference = format!("refs/heads/{branch}");
        let command = git(["-C", &path, "rev-parse", "--quiet", "--verify", &reference]);
        let output = output_of(command, Bytes::new()).await?;
        let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output.status.success() && !commit.is_empty()).then_some(commit))
    }
}

impl Drop for GitStore {
    fn drop(&mut self) {
        // It is a temporary directory: what cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A request of git's smart HTTP protocol.
pub(super) struct GitRequest<'a> {
    owner: &'a str,
    name: &'a str,
    rest: &'static str,
    needs: Level,
}

impl<'a> GitRequest<'a> {
    /// Recognizes one; GitHub serves nothing but the smart protocol, with and without `.git`.
    pub fn parse(method: &Method, segments: &[&'a str], query: &str) -> Option<Self> {
        let (&[owner, name], rest) = segments.split_first_chunk()?;
        let service = query.split('&').find_map(|pair| pair.strip_prefix("service="));
        let (rest, needs) = match (method.as_str(), rest, service) {
            ("GET", ["info", "refs"], Some("git-upload-pack")) => ("info/refs", Level::Read),
            ("GET", ["info", "refs"], Some("git-receive-pack")) => ("info/refs", Level::Write),
            ("POST", ["git-upload-pack"], _) => ("git-upload-pack", Level::Read),
            ("POST", ["git-receive-pack"], _) => ("git-receive-pack", Level::Write),
            _ => return None,
        };
        Some(Self {
            owner,
            name: name.strip_suffix(".git").unwrap_or(name),
            rest,
            needs,
        })
    }

    /// Serves it with the rights of the caller's token.
    pub async fn answer(&self, call: &Call) -> Answer {
        let found = match self.authorize(call) {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        let served = self.serve(call, &found).await;
        served.unwrap_or_else(|error| raw(500, "text/plain", format!("git http-backend: {error}\n")))
    }

    fn authorize(&self, call: &Call) -> Result<Found, Answer> {
        let state = call.shared.state();
        let found = match state.world.locate(self.owner, self.name) {
            Place::Here(found) => Some(found),
            Place::Moved(id) => state.world.by_id(id),
            Place::Nowhere => None,
        };
        let open = |found: &Found| self.needs == Level::Read && !found.repository.private;
        let token = match call.credentials() {
            Credentials::None => {
                return found
                    .filter(open)
                    .ok_or_else(|| unauthorized("Authentication required: give a token as the password."));
            }
            Credentials::Token(token) => token,
        };
        let access = state.access(&token).map_err(|denied| match denied {
            Denied::BadCredentials => unauthorized("Invalid username or token."),
            Denied::Suspended => plain(403, text::SUSPENDED),
        })?;
        drop(state);
        let found = found.ok_or_else(|| plain(404, "Repository not found."))?;
        if open(&found) {
            return Ok(found);
        }
        if !access.covers(&found) {
            return Err(plain(404, "Repository not found."));
        }
        if access.grant.permissions.get("contents") < Some(&self.needs) {
            return Err(plain(403, "Write access to repository not granted."));
        }
        Ok(found)
    }

    async fn serve(&self, call: &Call, found: &Found) -> io::Result<Answer> {
        let directory = call.shared.git.directory(found).await?;
        let root = directory.parent().unwrap_or(Path::new("/"));
        let header = |name| call.headers.get(name).and_then(|value| value.to_str().ok());
        let mut command = git(["http-backend"]);
        command
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", format!("/{}.git/{}", found.repository.id, self.rest))
            .env("QUERY_STRING", &call.query)
            .env("REQUEST_METHOD", call.method.as_str())
            .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
            .env("CONTENT_LENGTH", call.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
            .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
            .env("REMOTE_USER", "x-access-token")
            .env("REMOTE_ADDR", "127.0.0.1");
        let output = run(command, call.body.clone()).await?;
        cgi_answer(output).ok_or_else(|| io::Error::other("it answered without headers"))
    }
}

impl Access {
    /// Whether the token is for this repository.
    pub(super) fn covers(&self, found: &Found) -> bool {
        self.installation == found.installation
            && self
                .grant
                .repositories
                .as_ref()
                .is_none_or(|ids| ids.contains(&found.repository.id))
    }
}

fn plain(code: u16, message: &str) -> Answer {
    raw(code, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn unauthorized(message: &str) -> Answer {
    let mut answer = plain(401, message);
    set(&mut answer, "www-authenticate", "Basic realm=\"GitHub\"");
    answer
}

/// A git command that the configuration of the machine cannot change.
fn git<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command with this input; what it printed.
async fn run(command: Command, input: Bytes) -> io::Result<Bytes> {
    let output = output_of(command, input).await?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git failed ({}): {stderr}", output.status)));
    }
    Ok(output.stdout.into())
}

async fn output_of(mut command: Command, input: Bytes) -> io::Result<Output> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command that has seen enough closes its input: its status tells.
            let _ = stdin.write_all(&input).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    tokio::time::timeout(DEADLINE, both).await?
}

/// A CGI answer (RFC 3875): headers, an empty line, the body.
fn cgi_answer(output: Bytes) -> Option<Answer> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut headers = HeaderMap::new();
    let mut code = 200;
    for line in std::str::from_utf8(&output[..end]).ok()?.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        if name.eq_ignore_ascii_case("status") {
            code = value.get(..3)?.parse().ok()?;
        } else {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.insert(name, HeaderValue::from_str(value).ok()?);
        }
    }
    let mut answer = Answer::new(output.slice(end + 4..).into());
    *answer.status_mut() = status(code);
    *answer.headers_mut() = headers;
    Some(answer)
}
