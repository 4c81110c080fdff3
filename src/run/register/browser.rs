//! The way through the browser: a page on loopback, and the address that GitHub sends the browser back to.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request as Asked, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use crate::domain::digest::hex;
use crate::domain::manifest::code_in;
use crate::telemetry::http::serve_site;

use super::{Request, page};

/// Where the browser comes back to, for a page that this process does not serve itself.
const USUAL_PORT: u16 = 8080;

/// What opens a page in the person's browser: on Linux, and on macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// What the handlers know.
struct Desk {
    /// `Host` headers that are ours: a page of another name must not read this one (DNS rebinding).
    hosts: [String; 2],
    page: String,
    state: String,
    codes: mpsc::Sender<SecretString>,
}

/// The page as a text, for a browser on another machine.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn registration_form(request: &Request) -> Result<String, String> {
    let port = if request.port == 0 { USUAL_PORT } else { request.port };
    Ok(page::form(request, &redirect_url(port), &random::<32>()?))
}

/// A few characters that nobody else has: for a name that has to be the only one of its kind.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn salt() -> Result<String, String> {
    random::<4>()
}

/// Serves the page until the browser comes back with a code, for `timeout` at most.
///
/// # Errors
/// A port that is taken; nobody who comes in time.
pub async fn code(
    request: &Request,
    open: bool,
    timeout: Duration,
    say: impl Fn(&str),
) -> Result<SecretString, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, request.port));
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok::<_, std::io::Error>((listener, port))
    };
    let (listener, port) = bound.await.map_err(|error| {
        let cure = "give another port, or leave --port out for a free one";
        format!("--port {}: {error}; {cure}", request.port)
    })?;
    let state = random::<32>()?;
    let (codes, mut code) = mpsc::channel(1);
    let desk = Desk {
        hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
        page: page::form(request, &redirect_url(port), &state),
        state,
        codes,
    };
    let routes = Router::new()
        .route("/", get(show))
        .route("/callback", get(come_back))
        .with_state(Arc::new(desk));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve_site(listener, routes, stop.clone()));
    let _ended = stop.clone().drop_guard();
    let url = format!("http://127.0.0.1:{port}/");
    say(&format!(
        "Open {url} in your browser; this waits {timeout:?} for you. Ctrl-C ends it."
    ));
    if open {
        open_browser(&url);
    }
    let came = tokio::time::timeout(timeout, code.recv()).await;
    stop.cancel();
    // What is under way is answered: the person reads it.
    let _ = serving.await;
    came.ok().flatten().ok_or_else(|| {
        format!("nobody came back from GitHub within {timeout:?}, and nothing is left here; begin again, or give more time with --timeout")
    })
}

fn redirect_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/callback")
}

/// What nobody can foresee, in hexadecimal.
fn random<const BYTES: usize>() -> Result<String, String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the machine gives no random bytes".to_owned())?;
    Ok(hex(&bytes))
}

/// Opens the page where the machine can; the address was told anyway.
fn open_browser(url: &str) {
    let run = |program: &&str| {
        let mut command = Command::new(program);
        command
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().is_ok()
    };
    let _ = OPENERS.iter().any(run);
}

async fn show(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    if desk.knows(&headers) {
        answer(StatusCode::OK, desk.page.clone())
    } else {
        answer(
            StatusCode::FORBIDDEN,
            page::note("This is not the address that was printed."),
        )
    }
}

async fn come_back(State(desk): State<Arc<Desk>>, headers: HeaderMap, request: Asked) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let (status, told) = match desk.code(&headers, query) {
        Ok(code) => match desk.codes.try_send(code) {
            Ok(()) => (
                StatusCode::OK,
                "GitHub has registered the App. Go back to the terminal: it says how it went, and what comes next.",
            ),
            Err(_) => (
                StatusCode::CONFLICT,
                "A code is here already; the terminal says how it went.",
            ),
        },
        Err(told) => (StatusCode::BAD_REQUEST, told),
    };
    answer(status, page::note(told))
}

impl Desk {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| self.hosts.iter().any(|ours| ours == host))
    }

    /// The code of whoever comes back from where this process sent him.
    fn code(&self, headers: &HeaderMap, query: &str) -> Result<SecretString, &'static str> {
        let value = |name| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let state = value("state").unwrap_or_default();
        let ours = verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_ok();
        if !ours || !self.knows(headers) {
            return Err(
                "This does not come from the page that was printed (its state differs), and is not acted on. Begin on that page again.",
            );
        }
        let code = value("code").and_then(|code| code_in(&code).ok());
        code.map(SecretString::from)
            .ok_or("GitHub sent no code. Begin on the page that was printed again.")
    }
}

fn answer(status: StatusCode, page: String) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // One page, one connection: nothing has to be waited for at the end.
        (header::CONNECTION, HeaderValue::from_static("close")),
    ];
    (status, headers, page).into_response()
}
