import Foundation
import TestSupport
import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

/// Which tokens of a conversation are scored, against transformers' mask of the same templates with `{% generation %}`
/// blocks (`Tests/Scripts/make_turn_fixtures.py`).
struct TurnTableTests {
    static let names = [
        "chatml", "chatml, its end on a line of its own", "llama-2", "llama-3", "mistral", "gemma", "phi-3", "phi-4",
        "qwen3", "zephyr", "vicuna without an end", "deepseek", "the next speaker's mark is the end",
    ]

    private static func table() throws -> JSONValue {
        try JSONValue.parse(readSmallFile(fixture("tokenization/turns.json"), limit: 1 << 24))
    }

    private static func family(_ name: String) throws -> JSONValue {
        try #require(table()["families"]?.arrayValue?.first { $0["name"]?.stringValue == name })
    }

    /// The tokenizer of the table with a template.
    private static func tokenizer(_ family: JSONValue, template: String) throws -> Tokenizer {
        let special = try table()["special"]?.arrayValue ?? []
        return try tinyTokenizer(
            changing: { object in
                var added = object["added_tokens"]?.arrayValue ?? []
                for token in special {
                    var entry = added[0].objectValue ?? [:]
                    entry["id"] = token["id"]
                    entry["content"] = token["content"]
                    added.append(.object(entry))
                }
                object["added_tokens"] = .array(added)
            },
            configuration: { object in
                object["bos_token"] = family["bos"].flatMap { $0 == .string("") ? nil : $0 }
                object["eos_token"] = family["eos"]
                object["chat_template"] = family[template]
            })
    }

    @Test func everyFamilyOfTheTableIsTested() throws {
        #expect(try Self.table()["families"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == Self.names)
    }

    /// With the blocks and without them.
    @Test(arguments: names, ["marked", "template"])
    func scoredTokensAreThoseOfTransformersMask(name: String, template: String) throws {
        let family = try Self.family(name)
        let tokenizer = try Self.tokenizer(family, template: template)
        for record in family["cases"]?.arrayValue ?? [] {
            let line = JSONValue.object(["messages": record["messages"]!]).text()
            let expected = record["scored"]?.arrayValue?.compactMap(\.intValue) ?? []
            guard !expected.isEmpty else {
                #expect(throws: DataError.self) { try loadLines([line], tokenizer) }
                continue
            }
            let example = try loadLines([line], tokenizer).examples[0]
            #expect(example.tokens == record["ids"]?.arrayValue?.compactMap { $0.intValue.map(Int32.init) }, "\(line)")
            #expect(example.scored.indices.filter { example.scored[$0] } == expected, "\(line)")
        }
    }

    @Test func conversationsThatTeachNoEndAreCounted() throws {
        let short = #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#
        let long = short.dropLast(2) + #", {"role": "user", "content": "c"}]}"#
        for name in Self.names {
            let tokenizer = try Self.tokenizer(Self.family(name), template: "template")
            let data = try loadLines([short, String(long), #"{"prompt": "a", "completion": "b"}"#], tokenizer)
            let endless = name == "vicuna without an end" ? 2 : name.hasPrefix("the next") ? 1 : 0
            #expect(data.conversationCount == 2 && data.endlessCount == endless, "\(name)")
            #expect(data.prefix(1).endlessCount == min(endless, 1))
            let foreign = name == "gemma" ? "<end_of_turn>" : name == "phi-3" ? "<|end|>" : nil
            #expect(data.foreignEnd == foreign, "\(name)")
        }
    }
}
