import CheckpointIO
import FuzzSupport
import TensorCore
import Tokenization

/// Tokenizers whose vocabularies the input is put beside: one of bytes, one of pieces with bytes as tokens. Read once.
private let vocabularies: [JSONObject] = ["gpt2-form", "mistral-form"].map { name in
    let path = placeFixture("tokenization/\(name)/tokenizer.json", as: "\(name).json") + "/\(name).json"
    guard let value = try? JSONValue.parse(readSmallFile(path, limit: 1 << 20)), let object = value.objectValue else {
        fatalError("the fixture is not as it was")
    }
    return object
}

/// The bytes as a JSON object of a tokenizer's steps (`normalizer`, `pre_tokenizer`, `post_processor`, `decoder`), put
/// into tokenizers whose vocabularies are sound, so that what is read is run.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let bytes = Array(UnsafeBufferPointer(start: start, count: count))
            guard let steps = try? JSONValue.parse(bytes).objectValue else { return -1 }
            for vocabulary in vocabularies {
                var object = vocabulary
                for key in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
                    if let value = steps[key] { object[key] = value }
                }
                let text = Array(JSONValue.object(object).text().utf8)
                let folder = placeBytes(text, as: "tokenizer.json")
                reading { try Fuzz.use(Tokenizer.load(modelPath: folder)) }
            }
            return 0
        }
    }

    private static func use(_ tokenizer: Tokenizer) throws {
        var ids: [Int32] = [-1, .max, .min]
        for text in ["", " a", "It is 12 o'clock, naïve  text\n\u{1F600}\t", "<s>▁ [INST] x</s>e\u{301}"] {
            let found = tokenizer.encode(text, addingSpecialTokens: true)
            precondition(found.allSatisfy { (0..<tokenizer.vocabularySize).contains(Int($0)) }, "an id of no token")
            _ = tokenizer.decode(found)
            ids += found
            let segments = [ChatSegment(text: text, isScored: false), ChatSegment(text: text, isScored: true)]
            let (tokens, scored) = tokenizer.encode(segments)
            precondition(tokens.count == scored.count)
        }
        ids += (0..<Int32(min(300, tokenizer.vocabularySize)))
        _ = tokenizer.decode(ids, skippingSpecialTokens: false)
        var stream = TokenStream(tokenizer)
        for id in ids { _ = stream.append(id) }
        _ = stream.finish()
    }
}
