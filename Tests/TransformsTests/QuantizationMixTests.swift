import CheckpointIO
import TestSupport
import Testing

@testable import Transforms

/// The types that llama.cpp's `llama_model_quantize` gave, which `make_quantization_mixes.py` wrote down.
@Suite struct QuantizationMixTests {
    private struct Case {
        let facts: QuantizationMix.ModelFacts
        let width: Int
        let downWidth: Int
        let types: JSONValue
    }

    private static func cases() throws -> [Case] {
        let bytes = try readSmallFile(fixture("formats/quantization_mixes.json"), limit: 1 << 20)
        return try #require(try JSONValue.parse(bytes).arrayValue).map { json in
            func count(_ key: String) throws -> Int { try #require(json[key]?.intValue) }
            return Case(
                facts: QuantizationMix.ModelFacts(
                    architecture: "llama", layerCount: try count("layers"), headCount: try count("heads"),
                    keyValueHeadCount: try count("key_value_heads"), expertCount: try count("experts")),
                width: try count("width"), downWidth: try count("down_width"), types: try #require(json["types"]))
        }
    }

    /// `Q6_K*2 Q4_K` as three names.
    private static func names(_ runs: String) -> [String] {
        runs.split(separator: " ").flatMap { run -> [String] in
            let parts = run.split(separator: "*")
            return Array(repeating: String(parts[0]), count: parts.count > 1 ? Int(parts[1])! : 1)
        }
    }

    /// The tensors of a case with the type that llama.cpp gave each, in an order that is not that of layers.
    private static func expected(_ one: Case, _ types: JSONValue) throws -> [(
        tensor: QuantizationMix.Tensor, type: String
    )] {
        var all: [(tensor: QuantizationMix.Tensor, type: String)] = []
        for (part, value) in try #require(types.objectValue).members {
            let found = names(try #require(value.stringValue))
            let isTop = ["token_embd", "output", "output_norm"].contains(part)
            for (layer, type) in found.enumerated() {
                let isVector = part.hasSuffix("_norm")
                let size = part.hasPrefix("ffn_down") ? one.downWidth : one.width
                let shape = isVector ? [size] : part.hasSuffix("_exps") ? [one.facts.expertCount, 2, size] : [2, size]
                let name = isTop ? "\(part).weight" : "blk.\(layer).\(part).weight"
                all.append((QuantizationMix.Tensor(name: name, shape: shape, current: .plain(.f32)), type))
            }
        }
        return all
    }

    @Test func everyTensorGetsTheTypeThatLlamaCppGivesIt() throws {
        var compared = 0
        for one in try Self.cases() {
            for (name, types) in try #require(one.types.objectValue).members {
                let mix = try #require(QuantizationMix(named: name))
                let expected = try Self.expected(one, types)
                let found = mix.encodings(of: expected.map(\.tensor), one.facts)
                for (entry, encoding) in zip(expected, found) where encoding.description != entry.type {
                    let model = "\(one.facts.layerCount) layers of \(one.width)"
                    Issue.record("\(name), \(model): \(entry.tensor.name) is \(encoding), and \(entry.type) there")
                }
                let areWritable = found.allSatisfy { $0.isWritable }
                #expect(areWritable, "\(name)")
                compared += expected.count
            }
        }
        #expect(compared > 30_000)
    }

    /// llama.cpp takes Llama's and Qwen2's models of 80 layers for ones of 70 billion weights, Qwen3's for none.
    @Test(arguments: [("llama", "Q5_K"), ("qwen2", "Q5_K"), ("qwen3", "Q4_K")])
    func valuesOfModelsOf70BillionWeightsGetMoreBits(architecture: String, type: String) throws {
        let mix = try #require(QuantizationMix(named: "Q4_K_S"))
        let tensors = (0..<80).map {
            QuantizationMix.Tensor(name: "blk.\($0).attn_v.weight", shape: [2, 256], current: .plain(.bf16))
        }
        let facts = QuantizationMix.ModelFacts(
            architecture: architecture, layerCount: 80, headCount: 64, keyValueHeadCount: 8)
        #expect(mix.encodings(of: tensors, facts)[40].description == type)
    }

    @Test func namesAreTakenInEitherCaseAndByTheirAliases() throws {
        #expect(QuantizationMix(named: "q4_k_m")?.fileType == 15)
        #expect(QuantizationMix(named: "Q4_K")?.name == "Q4_K_M")
        #expect(QuantizationMix(named: "bf16")?.isQuantized == false)
        #expect(QuantizationMix(named: "mxfp4_moe")?.fileType == 38)
        #expect(QuantizationMix(named: "iq2_xs") == nil)
    }

    @Test func vectorsIntegersAndDelicateTensorsKeepTheirType() throws {
        let mix = try #require(QuantizationMix(named: "q4_0"))
        let facts = QuantizationMix.ModelFacts(
            architecture: "other", layerCount: 1, headCount: 1, keyValueHeadCount: 1)
        func encoding(_ name: String, _ shape: [Int], _ current: TensorEncoding) -> TensorEncoding {
            mix.encodings(of: [QuantizationMix.Tensor(name: name, shape: shape, current: current)], facts)[0]
        }
        #expect(encoding("blk.0.attn_q.weight", [32, 64], .plain(.bf16)) == .named("Q4_0"))
        #expect(encoding("blk.0.attn_q.weight", [1, 64], .plain(.bf16)) == .plain(.bf16))
        #expect(encoding("blk.0.attn_q.bias", [32, 64], .plain(.f16)) == .plain(.f16))
        #expect(encoding("blk.0.ffn_gate_tid2eid.weight", [32, 64], .plain(.i32)) == .plain(.i32))
        #expect(encoding("blk.0.any.weight", [32, 64], .plain(.i32)) == .plain(.i32))
        #expect(encoding("position_embd.weight", [32, 64], .plain(.f32)) == .plain(.f32))
        #expect(encoding("blk.0.ssm_conv1d.weight", [32, 64], .plain(.f32)) == .plain(.f32))
        #expect(!mix.suits("falcon"))
        let plain = try #require(QuantizationMix(named: "f16"))
        #expect(plain.suits("falcon"))
    }
}
