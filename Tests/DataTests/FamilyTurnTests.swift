import CheckpointIO
import TestSupport
import Testing

@testable import Data
@testable import Tokenization

/// Which tokens of a conversation are scored in the form of each family, against transformers' mask
/// (`Tests/Scripts/make_family_templates.py`).
struct FamilyTurnTests {
    private static let lines: [JSONValue] = {
        let bytes = (try? readSmallFile(fixture("chat-templates/cases.jsonl"), limit: 1 << 22)) ?? []
        return bytes.split(separator: UInt8(ascii: "\n")).compactMap { try? JSONValue.parse(Array($0)) }
    }()

    /// The families whose conversations hold no date of the machine's.
    static let names = lines.dropFirst().compactMap { $0["name"]?.stringValue }.filter { !dated.contains($0) }
    private static let dated = ["llama3.2", "mistral-small3", "ministral3", "granite3", "smollm3", "gpt-oss"]

    private static func tokenizer(_ family: JSONValue, template: String) throws -> Tokenizer {
        let ids = lines[0]["ids"]?.arrayValue ?? []
        let special = lines[0]["special"]?.arrayValue ?? []
        return try tinyTokenizer(
            changing: { object in
                var added = object["added_tokens"]?.arrayValue ?? []
                for (id, token) in zip(ids, special) where !added.contains(where: { $0["id"] == id }) {
                    var entry = added[0].objectValue ?? [:]
                    entry["id"] = id
                    entry["content"] = token
                    added.append(.object(entry))
                }
                object["added_tokens"] = .array(added)
            },
            configuration: { object in
                object["bos_token"] = family["bos"].flatMap { $0 == .string("") ? nil : $0 }
                object["eos_token"] = family["eos"]
                object["chat_template"] = .string(template)
            })
    }

    @Test(arguments: names)
    func scoredTokensAreThoseOfTransformersMask(name: String) throws {
        let family = try #require(Self.lines.first { $0["name"]?.stringValue == name })
        let bytes = try readSmallFile(fixture("chat-templates/\(name).jinja"), limit: 1 << 20)
        let tokenizer = try Self.tokenizer(family, template: String(decoding: bytes, as: UTF8.self))
        for record in family["cases"]?.arrayValue ?? [] {
            guard let parts = record.arrayValue, parts.count == 5, let number = parts[0].intValue else { continue }
            let messages = Self.lines[0]["conversations"]?.arrayValue?[number]["messages"] ?? .null
            let line = JSONValue.object(["messages": messages]).text()
            let example = try loadLines([line], tokenizer).examples[0]
            #expect(example.tokens == parts[3].arrayValue?.compactMap { $0.intValue.map(Int32.init) }, "\(line)")
            #expect(
                example.scored.indices.filter { example.scored[$0] } == parts[4].arrayValue?.compactMap(\.intValue),
                "\(line)")
        }
    }
}
