import CheckpointIO
import Foundation
import Synchronization
import TestSupport
import Tokenization

/// The committed tokenizers and what the reference programs make of the committed texts
/// (`Tests/Scripts/make_tokenizer_fixtures.py`).
enum References {
    /// A text that the references were made from.
    struct Record: Sendable {
        let name: String
        let bytes: [UInt8]
    }

    /// The tokenizers whose ids come from Hugging Face's `tokenizers`.
    static let names =
        ["smollm2", "tiny-llama", "llama2-form", "mistral-form", "llama3-form", "pieces-form", "gpt2-form"]
        + composingNames
    /// Those of them that compose characters first.
    static let composingNames = ["qwen2-form", "qwen35-form", "r1-form"]

    private static let loaded = Mutex<[String: Tokenizer]>([:])

    /// A tokenizer, loaded once for all tests.
    static func tokenizer(_ name: String) throws -> Tokenizer {
        try loaded.withLock { loaded in
            if let tokenizer = loaded[name] { return tokenizer }
            let folder = name == "tiny-llama" ? "tiny-llama" : "tokenization/\(name)"
            let tokenizer = try Tokenizer.load(modelPath: fixture(folder))
            loaded[name] = tokenizer
            return tokenizer
        }
    }

    /// The texts that a tokenizer has references for, by the key of each.
    static func records(for name: String) throws -> [(key: String, record: Record)] {
        let composing = composingNames.contains(name) ? try records("composing.json") : []
        return try nastyRecords().map { ("nasty: " + $0.name, $0) } + composing.map { ("composing: " + $0.name, $0) }
    }

    /// The nasty texts, those that are not UTF-8 among them.
    static func nastyRecords() throws -> [Record] { try records("nasty.json") }

    private static func records(_ path: String) throws -> [Record] {
        try members(path).map { name, value in
            if let text = value["text"]?.stringValue { return Record(name: name, bytes: Array(text.utf8)) }
            let digits = Array((value["hex"]?.stringValue ?? "").utf8)
            let bytes = stride(from: 0, to: digits.count, by: 2).map { index in
                UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16)!
            }
            return Record(name: name, bytes: bytes)
        }
    }

    /// The first lines of each file of data, by the file's name.
    static func slices() throws -> [(name: String, lines: [String])] {
        try members("slices.json").map { ($0, ($1.arrayValue ?? []).compactMap(\.stringValue)) }
    }

    /// The members of a fixture that is one JSON object.
    static func members(_ path: String) throws -> [(key: String, value: JSONValue)] {
        try object(path).members
    }

    /// A fixture that is one JSON object.
    static func object(_ path: String) throws -> JSONObject {
        let bytes = try readSmallFile(fixture("tokenization/" + path), limit: 1 << 24)
        return try JSONValue.parse(bytes).objectValue ?? JSONObject()
    }
}

extension JSONValue {
    /// The ids in a list.
    var ids: [Int32] { (arrayValue ?? []).compactMap { $0.intValue.map { Int32($0) } } }
}
