//! A real node of Kubernetes, by hand: `lab-node up NAME`, `lab-node down NAME`. `init` and `guard` are for the node itself.

use std::{error::Error, process::ExitCode};

use lab::node::{self, Node, init};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["up", name] => up(name).await,
        ["down", name] => node::down(name).await.map_err(Into::into),
        ["guard", name] => guard(name).await,
        ["init", name] => init::run(name).map(|never| match never {}).map_err(Into::into),
        _ => Err("usage: lab-node up|down NAME".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-node: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn up(name: &str) -> Result<(), Box<dyn Error>> {
    let node = Node::up(name).await?;
    println!("{}", node.kubectl().run(&["get", "nodes", "-o", "wide"]).await?);
    Ok(())
}

/// Takes the node down once nobody holds the other end of our input: the program that wanted it has ended.
async fn guard(name: &str) -> Result<(), Box<dyn Error>> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    node::down(name).await?;
    Ok(())
}
