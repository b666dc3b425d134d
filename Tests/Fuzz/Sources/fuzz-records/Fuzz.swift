import CheckpointIO
import FuzzSupport
import Data
import Tokenization

/// A byte-level tokenizer; opened once.
private let tokenizer: Tokenizer = {
    _ = placeFixture("tiny-llama/tokenizer_config.json", as: "tokenizer_config.json")
    let folder = placeFixture("tiny-llama/tokenizer.json", as: "tokenizer.json")
    guard let tokenizer = try? Tokenizer.load(modelPath: folder) else { fatalError("the fixture is not as it was") }
    return tokenizer
}()

/// The bytes as a file of training records.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let path = placeInput(start, count, as: "input.json") + "/input.json"
            reading { _ = try Dataset.load(path: path, tokenizer: tokenizer) }
            return 0
        }
    }
}
