//! The two pages that a person sees here; neither has a script, or anything secret.

use crate::domain::manifest::{Manifest, registration_page};

use super::Request;

/// No script, no picture, no frame around it. Where the form may go is left open: GitHub may send it on to a log-in of another host.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}\
    td,th{text-align:left;padding:.1rem 2rem .1rem 0}button{font:inherit;padding:.5rem 1rem;margin:1rem 0}";

/// The page with the manifest: its button posts it to GitHub. `redirect_url`: where GitHub sends the browser then.
pub fn form(request: &Request, redirect_url: &str, state: &str) -> String {
    let Request {
        manifest,
        organization,
        base_url,
        resume,
        ..
    } = request;
    let Manifest { name, permissions, .. } = manifest;
    let rows = permissions
        .iter()
        .map(|(name, level)| format!("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(level)));
    let owner = match organization {
        Some(login) => format!("the organization <b>{}</b>", escaped(login)),
        None => "your own account".to_owned(),
    };
    let body = format!(
        "<p>The App <b>{name}</b> of {owner} at {host}, without a webhook, may be granted:</p>\n\
         <table>\n<tr><th>Permission</th><th>Level</th></tr>\n{rows}</table>\n\
         <form action=\"{action}\" method=\"post\">\n\
         <input type=\"hidden\" name=\"manifest\" value=\"{manifest}\">\n\
         <button type=\"submit\">Register this App at GitHub</button>\n</form>\n\
         <p>GitHub asks once more, lets you change the name, and sends you back to {back}. If nothing answers there, copy the \
         address and run <code>{resume} 'ADDRESS'</code> within the hour, once.</p>\n",
        resume = escaped(resume),
        name = escaped(name),
        host = escaped(&base_url.web_host()),
        rows = rows.collect::<String>(),
        action = escaped(&registration_page(base_url, organization.as_deref(), state)),
        manifest = escaped(&manifest.text(redirect_url)),
        back = escaped(redirect_url),
    );
    page("Register a GitHub App", &body)
}

/// A page of one sentence.
pub fn note(text: &str) -> String {
    page("gtm app create", &format!("<p>{}</p>\n", escaped(text)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_names_stays_text() {
        let request = Request {
            manifest: Manifest {
                name: "a\"><script>alert('x')</script>&".to_owned(),
                url: "https://github.com".to_owned(),
                permissions: [("contents".to_owned(), "<b>".to_owned())].into(),
            },
            organization: Some("acme".to_owned()),
            base_url: "https://api.github.com".parse().unwrap(),
            port: 0,
            resume: "gtm app create --key-file 'a<b' --code".to_owned(),
        };
        let page = form(&request, "http://127.0.0.1:1/callback", "s1");
        assert!(
            !page.contains("<script") && !page.contains("<b>\"") && !page.contains("alert('"),
            "{page}"
        );
        assert!(page.contains("<code>gtm app create --key-file &#39;a&lt;b&#39; --code 'ADDRESS'</code>"));
        assert!(page.contains("action=\"https://github.com/organizations/acme/settings/apps/new?state=s1\""));
        let value = page
            .split("name=\"manifest\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let plain = value
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        assert_eq!(plain, request.manifest.text("http://127.0.0.1:1/callback"));
    }
}
