//! A person's browser, as far as registering a GitHub App from a manifest takes one: it opens the page, presses the button, and goes
//! where it is sent.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Url};

use crate::error::Error;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser without scripts.
#[derive(Debug, Clone)]
pub struct Browser(Client);

/// A form with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Where it is posted to.
    pub action: String,
    /// The manifest.
    pub manifest: String,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Where it sends the browser to.
    pub location: Option<String>,
    /// Its text.
    pub text: String,
}

impl Form {
    /// The form of a page; `None` when there is none.
    #[must_use]
    pub fn of(html: &str) -> Option<Self> {
        let value = |before: &str| {
            let (_, after) = html.split_once(before)?;
            Some(plain(after.split_once('"')?.0))
        };
        Some(Self {
            action: value("<form action=\"")?,
            manifest: value("name=\"manifest\" value=\"")?,
        })
    }
}

/// An attribute's value.
fn plain(html: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(html.to_owned(), |text, (entity, character)| {
        text.replace(entity, character)
    })
}

impl Browser {
    /// A browser that goes nowhere by itself.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn new() -> Result<Self, Error> {
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("a browser")
            .timeout(PATIENCE)
            .build()?;
        Ok(Self(client))
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn open(&self, url: &str) -> Result<Page, Error> {
        Self::page(self.0.get(url)).await
    }

    /// Opens a page under another name, as after DNS rebinding.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn open_as(&self, url: &str, host: &str) -> Result<Page, Error> {
        Self::page(self.0.get(url).header("host", host)).await
    }

    /// Posts the form to the GitHub that it names.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn post(&self, form: &Form) -> Result<Page, Error> {
        let body = Url::parse_with_params("http://form/", [("manifest", &form.manifest)]);
        let body = body
            .ok()
            .and_then(|url| url.query().map(str::to_owned))
            .unwrap_or_default();
        let request = self.0.post(&form.action).body(body);
        Self::page(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")).await
    }

    async fn page(request: reqwest::RequestBuilder) -> Result<Page, Error> {
        let answer = request.send().await?;
        let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        Ok(Page {
            status: answer.status().as_u16(),
            location: location.map(str::to_owned),
            text: answer.text().await?,
        })
    }
}
