import TestSupport
import Testing

@testable import Tokenization

@Suite struct TokenStreamTests {
    @Test(arguments: References.names)
    func streamedTextIsTheDecodedText(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        // Bytes that no character begins with come out alike only where the decoder works byte by byte as well.
        for record in try References.nastyRecords() where String(validating: record.bytes, as: UTF8.self) != nil {
            let ids = tokenizer.encode(bytes: record.bytes)
            var stream = TokenStream(tokenizer)
            var streamed = Array((ids.map { stream.append($0) }.joined() + stream.finish()).utf8)
            let decoded = Array(tokenizer.decode(ids).utf8)
            // A stream continues a text, so the space before its first word stays.
            if streamed.count == decoded.count + 1, streamed[0] == UInt8(ascii: " ") { streamed.removeFirst() }
            #expect(streamed == decoded, "\(name), \(record.name)")
        }
    }

    @Test func unfinishedCharactersAreHeldBack() throws {
        let tokenizer = try References.tokenizer("tiny-llama")
        let ids = tokenizer.encode("\u{1F409}")
        try #require(ids.count > 1)
        var stream = TokenStream(tokenizer)
        let pieces = ids.map { stream.append($0) } + [stream.finish()]
        #expect(pieces == [String](repeating: "", count: ids.count - 1) + ["\u{1F409}", ""])
        let unfinished = [stream.append(ids[0]), stream.finish()]
        #expect(unfinished == ["", "\u{FFFD}"])
    }

    @Test func specialTokensAndStrangeIDsGiveNothing() throws {
        let tokenizer = try References.tokenizer("smollm2")
        var stream = TokenStream(tokenizer)
        let end = try #require(tokenizer.eosTokenID)
        let ids: [Int32] = [end, -1, .max]
        let pieces = ids.map { stream.append($0) } + [stream.finish()]
        #expect(pieces == ["", "", "", ""])
        #expect(tokenizer.decode([-1, Int32.max]) == "")
        #expect(tokenizer.bytes(ofToken: 2) == Array("<|im_end|>".utf8))
    }
}

/// What no character begins with, and characters that are cut off.
@Suite struct BrokenTokenStreamTests {
    @Test(arguments: References.names)
    func cutOffCharactersBecomeWhatTheTokenizersMakeOfThem(name: String) throws {
        let tokenizer = try References.tokenizer(name)
        for text in ["\u{1F409}", "日", "é", "\u{1F468}\u{200D}\u{1F469}"] {
            let ids = tokenizer.encode("a" + text)
            for count in 1...ids.count {
                let cut = Array(ids.prefix(count))
                var stream = TokenStream(tokenizer)
                var pieces = cut.map { stream.append($0) }
                #expect(!pieces.joined().contains("\u{FFFD}"), "\(name): \(pieces)")
                pieces.append(stream.finish())
                let streamed = pieces.joined()
                // Where tokens are single bytes, decoding gives up whole characters before one that is cut off; those
                // have been seen in a stream.
                let whole = (0...count).last { !tokenizer.decode(Array(cut.prefix($0))).contains("\u{FFFD}") } ?? 0
                let kept = tokenizer.decode(Array(cut.prefix(whole)))
                let decoded = [tokenizer.decode(cut), kept + String(repeating: "\u{FFFD}", count: count - whole)]
                let expected = decoded + decoded.map { " " + $0 }
                #expect(expected.contains { $0.utf8.elementsEqual(streamed.utf8) }, "\(name): \(cut)")
            }
        }
    }
}
