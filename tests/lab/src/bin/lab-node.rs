//! A real node of Kubernetes, by hand: `lab-node up NAME IMAGE` with the operator of that image, `lab-node down NAME`. `init` and `guard` are for the node itself.

use std::{error::Error, path::Path, process::ExitCode};

use lab::node::{self, Node, init};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["up", name, image] => up(name, Path::new(image)).await,
        ["down", name] => node::down(name).await.map_err(Into::into),
        ["guard", name] => guard(name).await,
        ["init", name] => init::run(name).map(|never| match never {}).map_err(Into::into),
        _ => Err("usage: lab-node up NAME IMAGE, or lab-node down NAME".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-node: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn up(name: &str, image: &Path) -> Result<(), Box<dyn Error>> {
    let node = Node::up(name).await?;
    node.install_operator(image).await?;
    println!("{}", node.kubectl().run(&["get", "pods", "-A", "-o", "wide"]).await?);
    println!("It stays up until `make cluster-down`. Try it:\n");
    println!("  alias kubectl='{}'", node.kubectl().words());
    println!("  kubectl create namespace demo");
    println!("  kubectl apply -f docs/examples/token.yaml");
    println!("  kubectl -n demo get tokens,secrets");
    Ok(())
}

/// Takes the node down once nobody holds the other end of our input: the program that wanted it has ended.
async fn guard(name: &str) -> Result<(), Box<dyn Error>> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    node::down(name).await?;
    Ok(())
}
