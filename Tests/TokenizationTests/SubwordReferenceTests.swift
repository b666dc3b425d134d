import CheckpointIO
import Foundation
import TestSupport
import Testing

@testable import Tokenization

/// Encoders' and later decoders' tokenizers against Hugging Face's, on two thousand texts that are hard on tokenizers
/// (`Tests/Scripts/make_subword_fixtures.py`).
@Suite struct SubwordReferenceTests {
    static let names = [
        "bert-uncased", "bert-cased", "whitespace", "unigram", "gemma", "o200k", "tekken", "cl100k", "deberta",
        "deberta-lower", "xlm-roberta", "t5",
    ]

    @Test(arguments: names)
    func madeTextsGetTheReferencesIDs(name: String) throws {
        try SubwordCheck(folder: fixture("tokenization/subwords/\(name)"), name: name).run()
    }

    @Test(arguments: [
        "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "bert-uncased", "bert-cased",
    ])
    func everyCharacterIsNormalizedAsTheReferenceDoesIt(name: String) throws {
        let normalizer: Normalizer =
            switch name {
            case "Lowercase": .lowercase
            case "StripAccents": .stripAccents
            case "Nmt": .translationSpaces
            case "bert-uncased":
                .bert(BertNormalization(cleans: true, separatesChinese: true, stripsAccents: true, lowercases: true))
            case "bert-cased":
                .bert(BertNormalization(cleans: true, separatesChinese: true, stripsAccents: false, lowercases: false))
            default: .form(try #require(NormalForm(rawValue: name)))
            }
        let expected = try SubwordCheck.json(fixture("tokenization/subwords/normalizers.json"))[name]?.arrayValue
        let hashes = try #require(expected).compactMap(\.stringValue)
        let texts = try SubwordCheck.texts()
        let every4 = stride(from: 0, to: texts.count, by: 4).map { Array(texts[$0].utf8) }
        let all = Self.characters() + every4
        #expect(all.count == hashes.count)
        for (index, (text, hash)) in zip(all, hashes).enumerated() {
            for isTracked in [false, true] where !isTracked || index % 16 == 0 {
                let normalized = normalizer.apply(to: TrackedText(bytes: text, offset: 0, isTracked: isTracked))
                var sum = ByteHash()
                sum.add(normalized.bytes)
                #expect(sum.text == hash, "\(name), text \(index)")
            }
        }
    }

    /// As the script puts them together.
    private static func characters() -> [[UInt8]] {
        let stretches: [Range<UInt32>] = [
            0x1..<0xD800, 0xE000..<0x32400, 0xE0000..<0xE0400, 0x10FF00..<0x110000,
        ]
        return stretches.flatMap { stretch in
            stride(from: stretch.lowerBound, to: stretch.upperBound, by: 4096).map { start in
                var text = ""
                for value in start..<min(start + 4096, stretch.upperBound) {
                    text.unicodeScalars.append("a")
                    text.unicodeScalars.append(Unicode.Scalar(value)!)
                    text.unicodeScalars.append(" ")
                }
                return Array(text.utf8)
            }
        }
    }

    @Test func anEncodersTokensKeepTheirPlaces() throws {
        for name in ["bert-uncased", "unigram", "xlm-roberta", "deberta"] {
            let tokenizer = try Tokenizer.load(modelPath: fixture("tokenization/subwords/\(name)"))
            let segments = [
                ChatSegment(text: "Which of these? ", isScored: false), ChatSegment(text: "caf\u{E9}s", isScored: true),
            ]
            let (tokens, scored) = tokenizer.encode(segments)
            #expect(tokens == tokenizer.encode("Which of these? caf\u{E9}s"), "\(name)")
            let before = tokenizer.encode("Which of these?")
            #expect(tokens.starts(with: before), "\(name)")
            #expect(!scored.prefix(before.count).contains(true) && scored.last == true, "\(name)")
        }
    }
}

/// The folder of tokenizers that are not kept here, if there is one.
private let otherFolder = ProcessInfo.processInfo.environment["TSPEFT_TOKENIZERS"]

/// Real tokenizers, and lines of whole data sets. Needs `TSPEFT_TOKENIZERS`, a folder that
/// `make_subword_fixtures.py --others` made, and `TSPEFT_DATA` for the lines.
@Suite struct OtherTokenizerTests {
    @Test(.enabled(if: otherFolder != nil, "TSPEFT_TOKENIZERS names no folder of tokenizers"))
    func otherTokenizersGetTheReferencesIDs() throws {
        let folder = try #require(otherFolder)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
        #expect(!names.isEmpty)
        for name in names {
            let check = try SubwordCheck(folder: "\(folder)/\(name)", name: name)
            try check.run()
            guard let data = ProcessInfo.processInfo.environment["TSPEFT_DATA"] else { continue }
            try check.runLines(of: data)
            print("agrees: \(name)")
        }
    }
}

/// Holds one tokenizer to hashes of what the reference makes of the texts.
private struct SubwordCheck {
    /// Texts a hash, and tokens of a pair at most, as in the script.
    private static let group = 50
    private static let longest = 24

    let name: String
    let tokenizer: Tokenizer
    let expected: JSONValue

    init(folder: String, name: String) throws {
        self.name = name
        tokenizer = try Tokenizer.load(modelPath: folder)
        expected = try Self.json("\(folder)/expected.json")
    }

    static func json(_ path: String) throws -> JSONValue {
        try JSONValue.parse(try readSmallFile(path, limit: 1 << 24))
    }

    static func texts() throws -> [String] {
        let value = try json(fixture("tokenization/subwords/texts.json"))
        return (value.arrayValue ?? []).compactMap(\.stringValue)
    }

    func run() throws {
        let texts = try Self.texts()
        #expect(texts.count == 2000)
        #expect(tokenizer.vocabularySize == expected["size"]?.intValue, "\(name)")
        let ids = texts.map { tokenizer.encode($0) }
        hold("ids", ids.map { hash in { $0.add(hash) } })
        hold("framed", texts.map { text in { $0.add(tokenizer.encode(text, and: nil).tokens) } })
        hold("decoded", ids.map { ids in { $0.add(Array(tokenizer.decode(ids).utf8) + [0xFF]) } })
        for end in [Tokenizer.CutEnd.right, .left] {
            hold(
                end.rawValue,
                zip(texts, texts.dropFirst()).map { first, second in
                    {
                        let pair = tokenizer.encode(first, and: second, longest: Self.longest, cutting: end)
                        $0.add(pair.tokens)
                        $0.add(pair.types)
                    }
                })
        }
    }

    private func hold(_ key: String, _ parts: [(inout ByteHash) -> Void]) {
        let hashes = (expected[key]?.arrayValue ?? []).compactMap(\.stringValue)
        #expect(hashes.count == (parts.count + Self.group - 1) / Self.group, "\(name), \(key)")
        for (group, hash) in hashes.enumerated() {
            var sum = ByteHash()
            for part in parts[group * Self.group..<min((group + 1) * Self.group, parts.count)] { part(&sum) }
            #expect(sum.text == hash, "\(name), \(key), texts from \(group * Self.group)")
        }
    }

    func runLines(of folder: String) throws {
        for (path, value) in expected["lines"]?.objectValue?.members ?? [] {
            var lines = try readSmallFile("\(folder)/\(path)", limit: 1 << 26).split(
                separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            if lines.last?.isEmpty == true { lines.removeLast() }
            var sum = ByteHash()
            for line in lines { sum.add(tokenizer.encode(bytes: Array(line))) }
            #expect(sum.text == value.stringValue, "\(name), \(path)")
        }
    }
}

/// 64-bit FNV-1a.
private struct ByteHash {
    private var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ bytes: [UInt8]) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }

    /// Ids as little-endian int32, and -1 behind them.
    mutating func add(_ ids: [Int32]) {
        for id in ids + [-1] { add((0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) }) }
    }

    var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
