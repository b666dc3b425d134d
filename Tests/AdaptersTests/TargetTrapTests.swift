import Adapters
import Models
import Testing

/// The traps of `target_modules`, on lists of module names as large models have them: peft's rules, and that each trap
/// springs here as it does there.
@Suite struct TargetTrapTests {
    private static func modules(_ paths: [String]) -> [LinearModule] {
        paths.map { LinearModule(path: $0, outputSize: 8, inputSize: 8) }
    }

    /// DeBERTa-v2's linear layers.
    private static let deberta = modules(
        (0..<2).flatMap { layer in
            [
                "attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj",
                "attention.output.dense", "intermediate.dense", "output.dense",
            ].map { "deberta.encoder.layer.\(layer).\($0)" }
        } + ["pooler.dense", "classifier"])

    /// LLaVA's, of transformers 5: a vision tower, the projector between, a Llama.
    private static let llava = modules(
        (0..<2).flatMap { layer in
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"]
                .map { "model.vision_tower.vision_model.encoder.layers.\(layer).\($0)" }
        } + ["model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_2"]
            + (0..<2).flatMap { layer in
                ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"]
                    .map { "model.language_model.layers.\(layer).\($0)" }
            } + ["lm_head"])

    private func match(
        _ targets: TargetSpecification, excluding excluded: TargetSpecification? = nil, in modules: [LinearModule]
    ) throws -> [String] {
        try TargetMatch(targets, excluding: excluded, in: modules).modules.map(\.path)
    }

    @Test func denseHitsThePoolerToo() throws {
        let found = try match(.names(["dense"]), in: Self.deberta)
        #expect(found.count == 7 && found.contains("pooler.dense"))
    }

    @Test func outputDenseHitsTheAttentionsOutputToo() throws {
        let found = try match(.names(["output.dense"]), in: Self.deberta)
        #expect(found.count == 4)
        #expect(found.contains("deberta.encoder.layer.0.attention.output.dense"))
        // As the paper's targets have it, by as many components as it takes.
        #expect(try match(.names(["attention.output.dense"]), in: Self.deberta).count == 2)
        let expression = try match(.expression(#".*\.layer\.\d+\.output\.dense"#), in: Self.deberta)
        #expect(expression == (0..<2).map { "deberta.encoder.layer.\($0).output.dense" })
    }

    @Test func nameMatchesWholeComponentsAlone() throws {
        #expect(try match(.names(["query_proj"]), in: Self.deberta).count == 2)
        #expect(throws: AdapterError.self) { try match(.names(["proj"]), in: Self.deberta) }
        #expect(throws: AdapterError.self) { try match(.names(["e.dense"]), in: Self.deberta) }
    }

    /// A string that is no list is an expression for the whole path: a bare name matches no module that has a path.
    @Test func stringIsAnExpressionForTheWholePath() throws {
        #expect(throws: AdapterError.self) { try match(.expression("query_proj"), in: Self.deberta) }
        #expect(try match(.expression(".*query_proj"), in: Self.deberta).count == 2)
        #expect(try match(.expression("classifier"), in: Self.deberta) == ["classifier"])
        #expect(try match(.expression(".*(query|key)_proj"), in: Self.deberta).count == 4)
    }

    @Test func projectionOfTheLanguageModelHitsTheVisionTowerToo() throws {
        let found = try match(.names(["q_proj"]), in: Self.llava)
        #expect(found.count == 4 && found.contains { $0.contains("vision_tower") })
        let without = try match(.names(["q_proj"]), excluding: .expression(".*vision_tower.*"), in: Self.llava)
        #expect(without == (0..<2).map { "model.language_model.layers.\($0).self_attn.q_proj" })
        let named = try match(.expression(#".*language_model.*\.q_proj"#), in: Self.llava)
        #expect(named == without)
    }

    @Test func allLinearLeavesTheHeadOutAndTakesTheRest() throws {
        let found = try match(.allLinear, in: Self.llava)
        #expect(found.count == Self.llava.count - 1 && !found.contains("lm_head"))
    }

    @Test func noMatchAtAllIsAnErrorWithTheNearestNames() throws {
        do {
            _ = try match(.names(["query"]), in: Self.llava)
            Issue.record("a target that matches nothing was taken")
        } catch AdapterError.matchesNothing(let target, _) {
            #expect(target == "query")
        }
        let error = #expect(throws: AdapterError.self) { _ = try match(.names(["qproj"]), in: Self.llava) }
        #expect(error?.description.contains("q_proj") == true)
    }

    /// peft reads an adapter with a target that the model lacks without a word, if another one matches.
    @Test func readingAnAdapterAsksNoTargetToMatch() throws {
        let paths = try TargetMatch.paths(
            matching: .names(["q_proj", "c_attn"]), excluding: nil, layersToTransform: nil, layersPattern: [],
            in: Self.llava)
        #expect(paths.count == 4)
    }

    /// The first pattern that matches counts, as a regular expression behind any prefix and up to the path's end.
    @Test func patternsOfRankAndAlphaMatchAsInPeft() throws {
        let configuration = try AdapterConfiguration(
            LoRASettings(
                LowRankNumbers(
                    rank: 8, alpha: 16,
                    rankPattern: [.init("layers.0.self_attn.q_proj", 2), .init("q_proj", 4), .init(".*_proj", 6)],
                    alphaPattern: [.init(#"language_model\..*"#, 3), .init("out", 1)])),
            isGated: false, targets: .names(["q_proj"]))
        let numbers = configuration.own(LoRASettings.self).numbers
        func rank(_ path: String) -> Int? { configuration.rank(for: path) }
        #expect(rank("model.language_model.layers.0.self_attn.q_proj") == 2)
        #expect(rank("model.language_model.layers.1.self_attn.q_proj") == 4)
        #expect(rank("model.language_model.layers.10.self_attn.q_proj") == 4)
        #expect(rank("model.language_model.layers.0.self_attn.k_proj") == 6)
        #expect(rank("lm_head") == 8)
        #expect(numbers.alpha(for: "model.language_model.layers.0.self_attn.q_proj") == 3)
        // A name is matched whole, not by its beginning.
        #expect(numbers.alpha(for: "model.vision_tower.layers.0.out_proj") == 16)
    }
}
