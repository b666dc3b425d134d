import CheckpointIO
import FuzzSupport
import Models
import Tokenization

/// The bytes as a GGUF file: its tensors, its model, its vocabulary.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let path = placeInput(start, count, as: "input.gguf") + "/input.gguf"
            reading {
                let checkpoint = try Checkpoint.open(path)
                try checkpoint.readEverything(checkpoint.tensors)
                reading {
                    let tokenizer = try Tokenizer.load(checkpoint)
                    _ = tokenizer.decode(tokenizer.encode("It is 12 o'clock, naïve  text\n\u{1F600}"))
                }
                reading { _ = try ModelCheckpoint.open(path) }
            }
            return 0
        }
    }
}
