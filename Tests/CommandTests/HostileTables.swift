import CheckpointIO
import Foundation
import TestSupport

private func text(_ text: String) -> [UInt8] { Array(text.utf8) }
private func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

/// A million distinct members `"k0":0,`.
private let millionMembers = (0..<1_100_000).map { "\"k\($0)\":0" }.joined(separator: ",")
/// Nested deeper than any stack.
private let deep = repeated("[", 2_000_000)

extension Hostile {
    private static func safetensors(
        _ name: String, _ words: String..., status: Int32 = 65, header: @escaping @Sendable () -> String, data: Int = 0
    ) -> Hostile {
        Hostile(name, "inspect X.safetensors", status, words) { path in
            try writeFile(
                path + ".safetensors", safetensorsFile(header: header(), data: [UInt8](repeating: 0, count: data)))
        }
    }

    private static func raw(_ name: String, _ words: String..., bytes: @escaping @Sendable () -> [UInt8]) -> Hostile {
        Hostile(name, "inspect X.safetensors", 65, words) { try writeFile($0 + ".safetensors", bytes()) }
    }

    private static func tensor(_ name: String, _ dtype: String, _ shape: String, _ offsets: String) -> String {
        "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
    }

    /// What the specification of safetensors forbids, and headers that are made to cost.
    static let safetensorsFiles: [Hostile] = [
        raw("no header", "the file ends after 0 bytes") { [] },
        raw("header of length 0", "does not start with '{'") { GGUFBuilder.bytes(UInt64(0)) },
        raw("header over 100 MB", "100000001 bytes", "at most 100000000") {
            GGUFBuilder.bytes(UInt64(100_000_001)) + text("{}")
        },
        raw("header of length 2^63", "9223372036854775808") { GGUFBuilder.bytes(UInt64(1) << 63) + text("{}") },
        raw("header of length 2^64 - 1", "18446744073709551615") { GGUFBuilder.bytes(UInt64.max) + text("{}") },
        raw("header beyond the file", "the file ends after 10 bytes") { GGUFBuilder.bytes(UInt64(3)) + text("{}") },
        raw("name that is not UTF-8", "invalid UTF-8") {
            GGUFBuilder.bytes(UInt64(8)) + [0x7B, 0x22, 0xFF, 0xFE, 0x22, 0x3A, 0x30, 0x7D]
        },
        safetensors("header that is a list", "does not start with '{'", header: { "[]" }),
        safetensors("header that starts with a space", "does not start with '{'", header: { " {}" }),
        safetensors("text after the header", "text after the object", header: { "{} x" }),
        safetensors(
            "name twice", "'a' stands twice",
            header: { "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("a", "U8", "[1]", "[0,1]") + "}" }, data: 1
        ),
        safetensors(
            "key of an entry twice", "'dtype' stands twice",
            header: { #"{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}"# }, data: 1),
        safetensors(
            "key of the metadata twice", "'x' stands twice", header: { #"{"__metadata__":{"x":"1","x":"2"}}"# }),
        safetensors("metadata twice", "stands twice", header: { #"{"__metadata__":{},"__metadata__":{}}"# }),
        safetensors("metadata that is no text", "'x' is not a string", header: { #"{"__metadata__":{"x":1}}"# }),
        safetensors("hole", "leaves a hole", header: { "{" + tensor("a", "U8", "[1]", "[1,2]") + "}" }, data: 2),
        safetensors(
            "overlap", "overlaps",
            header: { "{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("b", "U8", "[2]", "[1,3]") + "}" }, data: 3
        ),
        safetensors(
            "trailing bytes", "the tensors end at", header: { "{" + tensor("a", "U8", "[1]", "[0,1]") + "}" }, data: 2),
        safetensors(
            "backward offsets", "'a'", "data_offsets", header: { "{" + tensor("a", "U8", "[1]", "[1,0]") + "}" },
            data: 1),
        safetensors(
            "size beyond 64 bits", "'a'", "overflows",
            header: { "{" + tensor("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}" }),
        safetensors(
            "offset beyond the file", "'a'",
            header: { "{" + tensor("a", "U8", "[9223372036854775807]", "[0,9223372036854775807]") + "}" }),
        safetensors(
            "offset beyond 64 bits", "'a'", "data_offsets",
            header: { "{" + tensor("a", "U8", "[1]", "[18446744073709551616,18446744073709551617]") + "}" }),
        safetensors(
            "half a byte left", "'a'", "4 bits each must fill whole bytes",
            header: { "{" + tensor("a", "F4", "[3]", "[0,2]") + "}" }, data: 2),
        safetensors(
            "three quarters of a byte left", "'a'", "6 bits",
            header: { "{" + tensor("a", "F6_E2M3", "[3]", "[0,3]") + "}" }, data: 3),
        safetensors(
            "unknown type", "'a'", "Q9", status: 69, header: { "{" + tensor("a", "Q9", "[1]", "[0,1]") + "}" },
            data: 1),
        safetensors("nested for ever", "nested deeper than 128", header: { "{\"a\":" + deep }),
        safetensors(
            "a million axes", "more than 256 values",
            header: { "{" + tensor("a", "U8", "[" + repeated("1,", 1_000_000) + "1]", "[0,1]") + "}" }, data: 1),
        safetensors(
            "a million tensors", "more than 131072 tensors",
            header: { "{" + (0..<300_000).map { tensor("t\($0)", "U8", "[0]", "[0,0]") }.joined(separator: ",") + "}" }),
        safetensors(
            "a million metadata", "more than 524288 values", header: { "{\"__metadata__\":{" + millionMembers + "}}" }),
        safetensors(
            "a number of a million digits", "'a'",
            header: { "{" + tensor("a", "U8", "[" + repeated("9", 1_000_000) + "]", "[0,1]") + "}" }, data: 1),
        safetensors(
            "a name of a megabyte", "stands twice",
            header: {
                let name = repeated("n", 1 << 20)
                return "{" + tensor(name, "U8", "[0]", "[0,0]") + "," + tensor(name, "U8", "[0]", "[0,0]") + "}"
            }),
    ]

    private static func index(
        _ name: String, _ words: String..., status: Int32 = 65, text: @escaping @Sendable () -> String,
        files: @escaping @Sendable (String) throws -> Void = { _ in }
    ) -> Hostile {
        Hostile(name, "inspect X", status, words) { path in
            mkdir(path, 0o755)
            try writeFile(path + "/model.safetensors.index.json", text())
            let shard = safetensorsFile(header: "{" + tensor("a", "U8", "[1]", "[0,1]") + "}", data: [1])
            try writeFile(path + "/one.safetensors", shard)
            try files(path)
        }
    }

    private static func map(_ members: String) -> String { "{\"metadata\":{},\"weight_map\":{\(members)}}" }

    /// Index files of sharded checkpoints.
    static let indexFiles: [Hostile] = [
        index(
            "index that leads upwards", "'../one.safetensors'", "not a plain file name",
            text: { map(#""a":"../one.safetensors""#) }),
        index("index that leads away", "'/etc/passwd'", "not a plain file name", text: { map(#""a":"/etc/passwd""#) }),
        index("shard that is not there", "'two.safetensors'", "is not there", text: { map(#""a":"two.safetensors""#) }),
        index(
            "tensor that is in no shard", "'b'", "is in no shard",
            text: { map(#""a":"one.safetensors","b":"one.safetensors""#) }),
        index(
            "tensor in two shards", "'a'", "is in two shards",
            text: { map(#""a":"one.safetensors","b":"two.safetensors""#) },
            files: {
                try writeFile($0 + "/two.safetensors", readFile($0 + "/one.safetensors"))
            }),
        index(
            "index that claims a tensor twice", "'a' stands twice",
            text: { map(#""a":"one.safetensors","a":"one.safetensors""#) }),
        index(
            "shard that is a pipe", "two.safetensors: is not a regular file", text: { map(#""a":"two.safetensors""#) },
            files: { try Stranger.pipe.make($0 + "/two.safetensors") }),
        index(
            "shard that is a device", "two.safetensors: is not a regular file",
            text: { map(#""a":"two.safetensors""#) }, files: { try Stranger.zero.make($0 + "/two.safetensors") }),
        index(
            "shard that is a directory", "two.safetensors: is not a regular file",
            text: { map(#""a":"two.safetensors""#) }, files: { try Stranger.directory.make($0 + "/two.safetensors") }),
        index(
            "shard that is a loop of links", "two.safetensors", "Too many levels of symbolic links", status: 66,
            text: { map(#""a":"two.safetensors""#) }, files: { try Stranger.loop.make($0 + "/two.safetensors") }),
        index("index without a map", "weight_map", text: { "{}" }),
        index("index that is a number", "weight_map", text: { "7" }),
        index("index that sends a tensor to a number", "names no file for tensor 'a'", text: { map("\"a\":1") }),
        index("index that is nested for ever", "nested deeper", text: { deep }),
        index("index of a million tensors", "more than 524288 values", text: { map(millionMembers) }),
        index("index of 65 MB", "is larger than the 67108864 bytes", text: { repeated(" ", 65 << 20) }),
    ]

    private static func configuration(_ name: String, _ words: String..., status: Int32 = 65, members: [String: String])
        -> Hostile
    {
        Hostile(name, "inject X -o new", status, words) { path in
            let base = TinyRun.base
            try variant(path, of: base, replacing: ["config.json": replacing(members, in: base + "/config.json")])
        }
    }

    private static func configuration(_ name: String, _ words: String..., text: @escaping @Sendable () -> String)
        -> Hostile
    {
        Hostile(name, "inject X -o new", 65, words) { path in
            try variant(path, of: TinyRun.base, replacing: ["config.json": Array(text().utf8)])
        }
    }

    /// `config.json` of a model.
    static let configurations: [Hostile] = [
        configuration("hidden size of 2^62", "hidden_size", members: ["hidden_size": "4611686018427387904"]),
        configuration(
            "hidden size of 2^31 - 1", "model.safetensors", members: ["hidden_size": "2147483647", "head_dim": "48"]),
        configuration("hidden size below 0", "hidden_size", members: ["hidden_size": "-1"]),
        configuration("a thousand million layers", "model.layers.6", members: ["num_hidden_layers": "1000000000"]),
        configuration("no heads", "num_attention_heads", members: ["num_attention_heads": "0"]),
        configuration("no key heads", "num_key_value_heads", members: ["num_key_value_heads": "0"]),
        configuration("head that is a fraction", "num_attention_heads", members: ["num_attention_heads": "2.5"]),
        configuration("vocabulary without end", "vocab_size", members: ["vocab_size": "1e300"]),
        configuration("epsilon without end", "rms_norm_eps", members: ["rms_norm_eps": "1e999999999"]),
        configuration("epsilon that is no JSON", "not valid JSON", members: ["rms_norm_eps": "NaN"]),
        configuration("rotary base of 0", "rope_theta", members: ["rope_theta": "0"]),
        configuration("size that is text", "hidden_size", members: ["hidden_size": "\"192\""]),
        configuration(
            "number of a million digits", "hidden_size",
            members: ["hidden_size": String(repeating: "9", count: 1_000_000)]),
        configuration("configuration nested for ever", "nested deeper", text: { deep }),
        configuration(
            "configuration of a million members", "more than 524288 values", text: { "{" + millionMembers + "}" }),
        configuration("configuration that is a list", "is not a JSON object", text: { "[]" }),
        configuration("configuration of 17 MB", "is larger than", text: { repeated(" ", 17 << 20) }),
        configuration("empty configuration", "not valid JSON", text: { "" }),
    ]

    /// What an adapter is given to.
    static let adapterCommand = "merge BASE --adapter X -o new"

    private static func adapter(
        _ name: String, _ words: String..., status: Int32 = 65, command: String = adapterCommand,
        members: [String: String]
    ) -> Hostile {
        Hostile(name, command, status, words) { path in
            let tuned = try TinyRun.shared.get().path("tuned")
            try variant(
                path, of: tuned,
                replacing: ["adapter_config.json": replacing(members, in: tuned + "/adapter_config.json")])
        }
    }

    private static func record(_ name: String, _ words: String..., text: @escaping @Sendable () -> String) -> Hostile {
        Hostile(name, "merge BASE --adapter X -o new", 65, words) { path in
            try variant(path, of: TinyRun.shared.get().path("tuned"), replacing: ["tspeft.json": Array(text().utf8)])
        }
    }

    /// `adapter_config.json` and the rest of an adapter.
    static let adapters: [Hostile] = [
        adapter("alpha that is no JSON", "not valid JSON", members: ["lora_alpha": "NaN"]),
        adapter("alpha of infinity", "not valid JSON", members: ["lora_alpha": "Infinity"]),
        adapter("alpha beyond a double", "'lora_alpha'", "finite", members: ["lora_alpha": "1e999"]),
        adapter("alpha that is text", "'lora_alpha'", members: ["lora_alpha": "\"NaN\""]),
        adapter("rank of 0", "rank should be", members: ["r": "0"]),
        adapter("rank below 0", "rank should be", members: ["r": "-4"]),
        adapter("rank of 2^62", "r", members: ["r": "4611686018427387904"]),
        adapter("rank of 2^64", "'r'", members: ["r": "18446744073709551616"]),
        adapter("rank that the tensors have not", "shape", members: ["r": "3"]),
        adapter("rank pattern that the tensors have not", "shape", members: ["rank_pattern": "{\"q_proj\": 7}"]),
        adapter("rank pattern of 2^62", "", members: ["rank_pattern": "{\"q_proj\": 4611686018427387904}"]),
        adapter(
            "alpha pattern beyond a double", "alpha should be a finite number",
            members: ["alpha_pattern": "{\"q_proj\": 1e999}"]),
        adapter(
            "pattern that refers to a group of its own", "can take for ever",
            members: ["rank_pattern": "{\"([a-z]+)\\\\1\": 4}"]),
        adapter("unknown method", "peft_type", status: 69, members: ["peft_type": "\"QUANTUM\""]),
        adapter("method that is a number", "peft_type", members: ["peft_type": "7"]),
        adapter(
            "layers without end", "", command: adapterCommand + " --gates drop",
            members: ["layers_to_transform": "[4611686018427387904]"]),
        adapter("field that nobody knows", "bomb", status: 69, members: ["bomb": "[[1]]"]),
        adapter("configuration nested for ever", "nested deeper", members: ["bomb": deep]),
        record("record nested for ever", "nested deeper", text: { deep }),
        record("record of a million members", "more than 524288 values", text: { "{" + millionMembers + "}" }),
        record("record that is a list", "tspeft.json", text: { "[]" }),
    ]

    private static func tokenizer(
        _ name: String, _ words: String..., status: Int32 = 65, text: @escaping @Sendable () -> String
    ) -> Hostile {
        Hostile(name, "generate X -p a -n 1", status, words) { path in
            try variant(path, of: TinyRun.base, replacing: ["tokenizer.json": Array(text().utf8)])
        }
    }

    private static func model(_ vocabulary: String, _ merges: String = "[]") -> String {
        #"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"#
            + vocabulary
            + #"},"merges":"# + merges + "}}"
    }

    /// `tokenizer.json`.
    static let tokenizers: [Hostile] = [
        tokenizer("tokenizer nested for ever", "nested deeper", text: { deep }),
        tokenizer("empty tokenizer", "tokenizer.json", text: { "{}" }),
        tokenizer("token of 2^62", "tokenizer.json", text: { model("\"a\":4611686018427387904") }),
        tokenizer("token of 2^31 - 1", "tokenizer.json", text: { model("\"a\":2147483647") }),
        tokenizer("token below 0", "tokenizer.json", text: { model("\"a\":-1") }),
        tokenizer("merge of tokens that are not there", "tokenizer.json", text: { model("\"a\":0", "[\"b c\"]") }),
        tokenizer("tokens with one number", "tokenizer.json", text: { model("\"a\":0,\"b\":0") }),
        tokenizer(
            "tokenizer of a million members", "members of more than 1048576", text: { "{" + millionMembers + "}" }),
        tokenizer(
            "tokenizer of a million objects", "members of more than 1048576",
            text: { "{\"x\":[" + String(repeating: "{\"a\":1},", count: 1 << 20) + "0]}" }),
        tokenizer(
            "tokenizer of five million numbers", "more than 4194304 values",
            text: { "{\"x\":[" + String(repeating: "1,", count: 5 << 20) + "0]}" }),
    ]

    private static func records(_ name: String, _ words: String..., bytes: @escaping @Sendable () -> [UInt8]) -> Hostile
    {
        Hostile(name, "eval BASE --data X", 65, words) { try writeFile($0, bytes()) }
    }

    /// Training records.
    static let recordFiles: [Hostile] = [
        records("records nested for ever", "nested deeper", bytes: { text("[" + deep) }),
        records("line nested for ever", "nested deeper", bytes: { text("{\"a\":" + deep) }),
        records("record of a million members", "more than 524288 values", bytes: { text("{" + millionMembers + "}") }),
        records("zeros", "starts with the byte 0", bytes: { [UInt8](repeating: 0, count: 1 << 20) }),
        records(
            "Zstandard bomb", "unpacks to more than",
            bytes: { Zstd.compress([UInt8](repeating: 0x20, count: 128 << 20)) }),
        records("Zstandard frame that is cut", "ends inside", bytes: { Array(Zstd.compress(text("{}")).dropLast(2)) }),
        records(
            "Zstandard frame that asks for a huge window", "not sound",
            bytes: {
                // A frame header with a window of 2^41 bytes (RFC 8878, section 3.1.1.1.2), then an empty last block.
                [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x01, 0x00, 0x00]
            }),
    ]
}
