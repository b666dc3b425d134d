import CheckpointIO
import Foundation
import TestSupport
import Testing
import Tokenization

/// Ids and decoded texts against Hugging Face's `tokenizers` and against `sentencepiece`.
@Suite struct ReferenceIDsTests {
    @Test(arguments: References.names)
    func nastyTextsGetTheReferencesIDs(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        let expected = try References.object("expected/\(name).json")
        for (key, record) in try References.records(for: name) {
            let reference = try #require(expected[key])
            let ids = tokenizer.encode(bytes: record.bytes)
            #expect(ids == reference["ids"]?.ids, "\(name), \(key)")
        }
    }

    @Test(arguments: References.names)
    func specialTokensAreAddedAsTheReferenceAddsThem(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        let expected = try References.object("expected/\(name).json")
        for (key, record) in try References.records(for: name) {
            let reference = try #require(expected[key]?["added"]?.arrayValue)
            let ids = tokenizer.encode(bytes: record.bytes, addingSpecialTokens: true)
            let summary = [ids.count, ids.first.map { Int($0) }, ids.last.map { Int($0) }]
            #expect(summary == reference.map(\.intValue), "\(name), \(key)")
        }
    }

    @Test(arguments: References.names)
    func idsDecodeToTheReferencesText(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        let expected = try References.object("expected/\(name).json")
        for (key, _) in try References.records(for: name) {
            let reference = try #require(expected[key])
            let ids = try #require(reference["ids"]?.ids)
            let text = try #require(reference["text"]?.stringValue)
            let textWithSpecial = try #require(reference["textWithSpecial"]?.stringValue)
            // By bytes: Swift takes canonically equivalent strings for equal.
            #expect(Array(tokenizer.decode(ids).utf8) == Array(text.utf8), "\(name), \(key)")
            let decoded = tokenizer.decode(ids, skippingSpecialTokens: false)
            #expect(Array(decoded.utf8) == Array(textWithSpecial.utf8), "\(name), \(key)")
        }
    }

    @Test(arguments: References.names)
    func slicesOfTheDataGetTheReferencesIDs(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        let expected = try References.object("expected/\(name).json")
        #expect(tokenizer.vocabularySize == expected["vocabularySize"]?.intValue)
        for slice in try References.slices() {
            let reference = try #require(expected["slice: " + slice.name]?.arrayValue)
            #expect(slice.lines.map { tokenizer.encode($0) } == reference.map(\.ids), "\(name), \(slice.name)")
        }
    }

    @Test func scoredPiecesInsideGGUFGetSentencePiecesIDs() throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture("tokenization/sentencepiece.gguf"))
        let expected = try References.object("expected/sentencepiece.json")
        for record in try References.nastyRecords() {
            guard let reference = expected["nasty: " + record.name] else { continue }
            #expect(tokenizer.encode(bytes: record.bytes) == reference.ids, "\(record.name)")
        }
        for slice in try References.slices() {
            let reference = try #require(expected["slice: " + slice.name]?.arrayValue)
            #expect(slice.lines.map { tokenizer.encode($0) } == reference.map(\.ids), "\(slice.name)")
        }
        #expect(tokenizer.encode("a", addingSpecialTokens: true).first == tokenizer.bosTokenID)
        #expect(tokenizer.decode(tokenizer.encode(" two  spaces")) == " two  spaces")
    }

    @Test func byteLevelVocabularyInsideGGUFGetsTheIDsOfItsTokenizerFile() throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture("tokenization/llama3.gguf"))
        let original = try References.tokenizer("llama3-form")
        #expect(tokenizer.vocabularySize == original.vocabularySize)
        for record in try References.nastyRecords() where record.name != "special with spaces" {
            #expect(tokenizer.encode(bytes: record.bytes) == original.encode(bytes: record.bytes), "\(record.name)")
        }
        let ids = tokenizer.encode("The answer", addingSpecialTokens: true)
        #expect(ids == original.encode("The answer", addingSpecialTokens: true))
        #expect(ids.first == tokenizer.bosTokenID)
    }

    @Test func qwensVocabularyInsideGGUFComposesAsItsTokenizerFileDoes() throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture("tokenization/qwen2.gguf"))
        let expected = try References.object("expected/qwen2-form.json")
        for (key, record) in try References.records(for: "qwen2-form") {
            #expect(tokenizer.encode(bytes: record.bytes) == expected[key]?["ids"]?.ids, "\(key)")
        }
        #expect(tokenizer.encode("a", addingSpecialTokens: true) == tokenizer.encode("a"))
        #expect(tokenizer.bosTokenID == tokenizer.tokenID("<|endoftext|>"))
        #expect(tokenizer.eosTokenID == tokenizer.tokenID("<|im_end|>"))
    }

    @Test func composedTextKeepsItsPlacesForScoring() throws {
        let tokenizer = try References.tokenizer("qwen2-form")
        for (question, answer) in [
            ("?", "cafe\u{301} A\u{30A}b"), ("e\u{301}", "\u{1112}\u{1161}\u{11AB} x"), ("\u{F73}", "\u{212A}\u{212B}"),
        ] {
            let segments = [
                ChatSegment(text: question, isScored: false), ChatSegment(text: answer, isScored: true),
                ChatSegment(text: "<|im_end|>", isScored: false),
            ]
            let (tokens, scored) = tokenizer.encode(segments)
            #expect(tokens == tokenizer.encode(question + answer + "<|im_end|>"))
            let (before, inside) = (tokenizer.encode(question), tokenizer.encode(answer))
            #expect(tokens == before + inside + tokenizer.encode("<|im_end|>"))
            #expect(scored == before.map { _ in false } + inside.map { _ in true } + [false])
        }
    }
}

/// The folder of the whole data, if there is one.
private let dataFolder = ProcessInfo.processInfo.environment["TSPEFT_DATA"]

/// Every line of the data, by one hash a file. Needs `TSPEFT_DATA`, the folder with `csr` and `glue` in it.
@Suite struct WholeDataTests {
    @Test(.enabled(if: dataFolder != nil, "TSPEFT_DATA names no folder of data"))
    func everyLineOfTheDataGetsTheReferencesIDs() throws {
        let folder = try #require(dataFolder)
        let hashes = try References.members("hashes.json")
        #expect(!hashes.isEmpty)
        for (key, value) in hashes {
            let parts = key.split(separator: ":", maxSplits: 1)
            let tokenizer = try References.tokenizer(String(parts[0]))
            let path = folder + "/" + parts[1].drop { $0 == " " }
            var lines = try readSmallFile(path, limit: 1 << 26).split(
                separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            if lines.last?.isEmpty == true { lines.removeLast() }
            var hash = IDHash()
            for line in lines { hash.add(tokenizer.encode(bytes: Array(line))) }
            #expect(hash.text == value.stringValue, "\(key)")
        }
    }
}

/// 64-bit FNV-1a over ids as little-endian int32, with -1 after each line.
private struct IDHash {
    private var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ ids: [Int32]) {
        for id in ids + [-1] {
            withUnsafeBytes(of: id.littleEndian) { bytes in
                for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
            }
        }
    }

    var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
