import CheckpointIO
import Foundation
import TestSupport
import Testing

private func repeated(_ bytes: [UInt8], _ count: Int) -> [UInt8] {
    guard bytes.count != 1 else { return [UInt8](repeating: bytes[0], count: count) }
    // Doubled, since these are millions.
    var result = bytes
    result.reserveCapacity(bytes.count * count)
    while result.count < bytes.count * count { result += result.prefix(bytes.count * count - result.count) }
    return Array(result.prefix(bytes.count * count))
}

private func text(_ character: Character, _ count: Int) -> String { String(repeating: character, count: count) }

/// safetensors files whose headers are as large as the format allows, or a byte larger.
extension Hostile {
    /// Bytes of a header at most.
    private static let most = 100_000_000

    private static func header(_ name: String, _ words: String..., text: @escaping @Sendable () -> String) -> Hostile {
        Hostile(name, "inspect X.safetensors", 65, words, needsRelease: true) { path in
            try writeFile(path + ".safetensors", safetensorsFile(header: text()))
        }
    }

    private static func tensors(_ count: Int, nameSize: Int) -> String {
        let name = text("n", nameSize)
        return (0..<count).map { "\"\(name)\($0)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}" }
            .joined(separator: ",")
    }

    /// Headers of about 100 MB.
    static let largeHeaders: [Hostile] = [
        header("100 MB and a byte of header", "100000001 bytes", "at most 100000000") {
            "{}" + text(" ", most - 1)
        },
        header("100 MB of spaces before a mistake", "text after the object") { "{}" + text(" ", most - 3) + "x" },
        header("text of 100 MB", "more than 16777216 bytes", "'__metadata__'") {
            #"{"__metadata__":{"a":""# + text("x", most - 100) + "\"}}"
        },
        header("text of 17 million escapes", "more than 16777216 bytes", "'__metadata__'") {
            #"{"__metadata__":{"a":""# + String(repeating: "\\u0001", count: most / 6 - 20) + "\"}}"
        },
        header("key of 100 MB", "more than 16777216 bytes") {
            #"{"__metadata__":{""# + text("x", most - 100) + "\":\"\"}}"
        },
        header("a quarter of a million texts", "more than 16777216 bytes") {
            "{\"__metadata__\":{" + (0..<250_000).map { "\"\($0)\":\"\(text("x", 370))\"" }.joined(separator: ",")
                + "}}"
        },
        header("100 MB of empty lists", "more than 524288 values") {
            "{\"__metadata__\":[" + String(repeating: "[],", count: most / 3 - 10) + "0]}"
        },
        header("100 MB of nesting", "nested deeper than 128") { "{\"a\":" + text("[", most - 10) },
        header("name of 100 MB", "a string of more than 1048576 bytes") {
            "{\"" + text("x", most - 100) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"
        },
        header("type of 100 MB", "more than 65536 bytes", "'a'") {
            "{\"a\":{\"dtype\":\"" + text("x", most - 100) + "\",\"shape\":[0],\"data_offsets\":[0,0]}}"
        },
        header("extent of 100 million digits", "more than 65536 bytes", "'a'") {
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[" + text("9", most - 100) + "],\"data_offsets\":[0,0]}}"
        },
        header("names of 100 MB together", "names of more than 16777216 bytes together") {
            "{" + tensors(100_000, nameSize: 930) + "}"
        },
        header("tensors of sixty axes", "more than 2097152 values") {
            let axes = String(repeating: "1,", count: 59)
            return "{"
                + (0..<40_000).map { "\"\($0)\":{\"dtype\":\"U8\",\"shape\":[\(axes)0],\"data_offsets\":[0,0]}" }
                .joined(separator: ",") + "}"
        },
        header("tensors as many as are taken, and a mistake", "'z'", "is truncated") {
            "{" + tensors(131_071, nameSize: 1) + ",\"z\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"
        },
    ]
}

/// A GGUF file that costs as much as it may.
struct CostlyGGUF: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// Whether a debug program cannot be asked to read it within its limits.
    let needsRelease: Bool
    let make: @Sendable (_ file: inout GGUFBuilder) -> Void

    private init(
        _ name: String, needsRelease: Bool = false, _ make: @escaping @Sendable (_ file: inout GGUFBuilder) -> Void
    ) {
        testDescription = name
        self.needsRelease = needsRelease
        self.make = make
    }

    /// An array's value: its elements' type and number, and the elements.
    private static func array(_ type: UInt32, _ count: Int, _ elements: [UInt8]) -> [UInt8] {
        GGUFBuilder.bytes(type) + GGUFBuilder.bytes(UInt64(count)) + elements
    }

    private static func strings(_ texts: [String]) -> [UInt8] {
        var bytes: [UInt8] = []
        for text in texts { bytes += GGUFBuilder.string(text) }
        return array(8, texts.count, bytes)
    }

    /// The metadata and tensors of a small Llama with an embedding of `rows`.
    private static func addModel(_ file: inout GGUFBuilder, rows: Int = 32) {
        file.add("general.architecture", text: "llama")
        for (key, value) in [
            ("embedding_length", 32), ("block_count", 1), ("feed_forward_length", 32), ("context_length", 64),
        ] {
            file.add("llama." + key, integer: UInt32(value))
        }
        file.add("llama.attention.layer_norm_rms_epsilon", float: 1e-5)
        // Rows of one Q4_0 block of 18 bytes.
        file.addTensor(
            "token_embd.weight", extents: [32, UInt64(rows)], type: 2, data: [UInt8](repeating: 0, count: rows * 18))
        for name in ["attn_norm", "ffn_norm"] {
            file.addTensor("blk.0.\(name).weight", shape: [32], floats: [Float](repeating: 1, count: 32))
        }
        for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            file.addTensor("blk.0.\(name).weight", shape: [32, 32], floats: [Float](repeating: 0, count: 1024))
        }
        file.addTensor("output_norm.weight", shape: [32], floats: [Float](repeating: 1, count: 32))
    }

    private static func model(
        _ name: String, needsRelease: Bool = false, rows: Int = 32, heads: Bool = true,
        _ make: @escaping @Sendable (inout GGUFBuilder) -> Void
    ) -> CostlyGGUF {
        CostlyGGUF(name, needsRelease: needsRelease) { file in
            addModel(&file, rows: rows)
            if heads { file.add("llama.attention.head_count", integer: 2) }
            make(&file)
        }
    }

    /// A tokenizer of pieces with scores.
    private static func addPieces(_ file: inout GGUFBuilder, _ texts: [String]) {
        file.add("tokenizer.ggml.model", text: "llama")
        file.add("tokenizer.ggml.tokens", type: 9, value: strings(texts))
        let scores = repeated(GGUFBuilder.bytes(Float(-1).bitPattern), texts.count)
        file.add("tokenizer.ggml.scores", type: 9, value: array(6, texts.count, scores))
    }

    private static func addPairs(_ file: inout GGUFBuilder, _ texts: [String], merges: [UInt8]) {
        file.add("tokenizer.ggml.model", text: "gpt2")
        file.add("tokenizer.ggml.pre", text: "gpt-2")
        file.add("tokenizer.ggml.tokens", type: 9, value: strings(texts))
        file.add("tokenizer.ggml.merges", type: 9, value: merges)
    }

    private static func template(_ name: String, _ text: @escaping @Sendable () -> String) -> CostlyGGUF {
        model(name) { file in
            addPieces(&file, ["a", "b"])
            file.add("tokenizer.chat_template", text: text())
        }
    }

    /// Numbers in hexadecimal: every beginning of one is another, and most endings.
    private static func numbers(_ count: Int) -> [String] { (0..<count).map { String($0, radix: 16) } }

    static let all: [CostlyGGUF] = [
        // Vocabularies.
        model("five million tokens") { file in
            file.add("tokenizer.ggml.model", text: "llama")
            let tokens = repeated(GGUFBuilder.string("ab"), 5_000_000)
            file.add("tokenizer.ggml.tokens", type: 9, value: array(8, 5_000_000, tokens))
        },
        model("eight million empty tokens") { file in
            file.add("tokenizer.ggml.model", text: "llama")
            file.add(
                "tokenizer.ggml.tokens", type: 9,
                value: array(8, 8_000_000, [UInt8](repeating: 0, count: 64_000_000)))
        },
        model("token of 60 MB") { file in addPieces(&file, [text("a", 60_000_000), "b"]) },
        model("token of 4 MB") { file in addPieces(&file, [text("a", 4_000_000), "b"]) },
        model("tokens that begin each other") { file in addPieces(&file, (1...2_500).map { text("a", $0) }) },
        model("merges of tokens that begin each other") { file in
            addPairs(
                &file, (1...2_500).map { text("a", $0) },
                merges: strings((1..<2_500).map { "a " + text("a", $0) }))
        },
        model("three million merges") { file in
            addPairs(
                &file, ["a", "b", "ab"],
                merges: array(8, 3_000_000, repeated(GGUFBuilder.string("a b"), 3_000_000)))
        },
        model("types of fifteen million tokens") { file in
            addPieces(&file, ["a", "b"])
            file.add(
                "tokenizer.ggml.token_type", type: 9,
                value: array(5, 15_000_000, repeated(GGUFBuilder.bytes(Int32(1)), 15_000_000)))
        },
        model("vocabulary of pieces as large as is taken", needsRelease: true, rows: 3 << 17) { file in
            addPieces(&file, numbers(3 << 17))
        },
        model("vocabulary of control tokens as large as is taken", needsRelease: true, rows: 3 << 17) { file in
            addPieces(&file, numbers(3 << 17))
            file.add(
                "tokenizer.ggml.token_type", type: 9,
                value: array(5, 3 << 17, repeated(GGUFBuilder.bytes(Int32(3)), 3 << 17)))
        },
        model("vocabulary with merges as large as is taken", needsRelease: true, rows: 3 << 17) { file in
            addPairs(
                &file, numbers(3 << 17),
                merges: array(8, 5 << 17, repeated(GGUFBuilder.string("1 2"), 5 << 17)))
        },
        // Chat templates, which are tried when they are read.
        template("template of 60 MB") { text("x", 60_000_000) },
        template("template of ten million tags") { String(repeating: "{{a}}", count: 10_000_000) },
        template("template of a megabyte of tags") { String(repeating: "{{a}}", count: 200_000) },
        template("template nested for ever") { String(repeating: "{% if a %}", count: 100_000) },
        template("template with a million brackets") { "{{" + text("(", 1_000_000) },
        template("template that loops for ever") {
            String(repeating: "{% for i in range(99999) %}", count: 50) + "x"
                + String(repeating: "{% endfor %}", count: 50)
        },
        template("template that doubles a text") {
            "{% set ns = namespace(x='abcdefgh') %}{% for i in range(99999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"
        },
        template("template that lengthens a text") {
            "{% set ns = namespace(x='" + text("a", 900_000)
                + "') %}{% for i in range(99999) %}{% set ns.x = ns.x + 'a' %}{% endfor %}{{ ns.x }}"
        },
        template("template that multiplies a text") { "{{ 'a' * 100000000000 }}{{ 'a' * 60000000 }}" },
        // Metadata.
        model("65,000 pairs") { file in
            for index in 0..<65_000 { file.add("k\(index)", text: "v") }
        },
        model("65,000 arrays") { file in
            let value = array(8, 100, [UInt8](repeating: 0, count: 800))
            for index in 0..<65_000 { file.add("k\(index)", type: 9, value: value) }
        },
        model("65,000 long texts") { file in
            for index in 0..<65_000 { file.add("k\(index)", text: text("v", 900)) }
        },
        model("keys of 5 MB") { file in
            for index in 0..<80 { file.add(text("k", 65_000) + "\(index)", text: "v") }
        },
        model("one long key among many") { file in
            file.add(text("k", 65_000), text: "v")
            for index in 0..<60_000 { file.add("k\(index)", text: "v") }
        },
        model("text of 60 MB") { file in file.add("general.description", text: text("x", 60_000_000)) },
        model("text of control characters") { file in
            file.add("general.description", text: text("\u{1}", 60_000_000))
        },
        model("name of 60 MB") { file in file.add("general.name", text: text("x", 60_000_000)) },
        model("eight long texts") { file in
            file.add("general.tags", type: 9, value: strings((0..<8).map { _ in text("x", 7_000_000) }))
        },
        model("sixty million truth values") { file in
            file.add("a", type: 9, value: array(7, 60_000_000, [UInt8](repeating: 1, count: 60_000_000)))
        },
        model("half a million merged adapters") { file in
            file.add("tspeft.merges", text: "{\"merges\":[" + String(repeating: "{},", count: 250_000) + "{}]}")
        },
        model("record nested for ever") { file in file.add("tspeft.merges", text: text("[", 50_000_000)) },
        CostlyGGUF("architecture of 60 MB") { $0.add("general.architecture", text: text("x", 60_000_000)) },
        model("fifteen million head counts", heads: false) { file in
            let counts = repeated(GGUFBuilder.bytes(UInt32(2)), 15_000_000 - 1) + GGUFBuilder.bytes(UInt32(3))
            file.add("llama.attention.head_count", type: 9, value: array(4, 15_000_000, counts))
        },
        model("head count of 60 MB of text", heads: false) { file in
            file.add("llama.attention.head_count", text: text("x", 60_000_000))
        },
        model("half a million ends of text", rows: 1 << 19) { file in
            file.add(
                "tspeft.eos_token_ids", type: 9,
                value: array(5, 1 << 19, repeated(GGUFBuilder.bytes(Int32(1)), 1 << 19)))
        },
        // Tensors.
        model("65,000 tensors") { file in
            for index in 0..<65_000 { file.addEntry("x\(index)", extents: [0], type: 0, offset: 0) }
        },
        CostlyGGUF("adapter of 30,000 modules") { file in
            file.add("general.type", text: "adapter")
            file.add("adapter.type", text: "lora")
            for index in 0..<30_000 {
                for part in ["a", "b"] {
                    file.addEntry("blk.\(index).attn_q.weight.lora_\(part)", extents: [0, 0], type: 0, offset: 0)
                }
            }
        },
    ]
}
