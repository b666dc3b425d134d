import CheckpointIO
import FuzzSupport
import Tokenization

/// The bytes as a tokenizer.json; what it is asked to encode must come back as text.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let folder = placeInput(start, count, as: "tokenizer.json")
            reading {
                let tokenizer = try Tokenizer.load(modelPath: folder)
                for text in ["", "a", "It is 12 o'clock, naïve  text\n\u{1F600}\t", "<s> [INST] x </s>"] {
                    _ = tokenizer.decode(tokenizer.encode(text, addingSpecialTokens: true))
                }
            }
            return 0
        }
    }
}
