import Testing

@testable import Adapters
@testable import Models

@Suite struct TargetMatchingTests {
    /// Two layers of a Llama, hidden size 8, with its head.
    static let llama: [LinearModule] =
        (0..<2).flatMap { layer -> [LinearModule] in
            let stem = "model.layers.\(layer)."
            return [
                module(stem + "self_attn.q_proj", 8, 8), module(stem + "self_attn.k_proj", 4, 8),
                module(stem + "self_attn.v_proj", 4, 8), module(stem + "self_attn.o_proj", 8, 8),
                module(stem + "mlp.gate_proj", 12, 8), module(stem + "mlp.up_proj", 12, 8),
                module(stem + "mlp.down_proj", 8, 12),
            ]
        } + [module("lm_head", 16, 8)]

    static func module(_ path: String, _ outputSize: Int, _ inputSize: Int) -> LinearModule {
        LinearModule(path: path, outputSize: outputSize, inputSize: inputSize)
    }

    func paths(_ match: TargetMatch) -> [String] { match.modules.map(\.path) }

    @Test func listEntriesMatchExactlyOrAsLastComponents() throws {
        let match = try TargetMatch(.names(["v_proj", "layers.1.self_attn.q_proj", "lm_head"]), in: Self.llama)
        #expect(
            paths(match) == [
                "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj",
                "model.layers.1.self_attn.v_proj", "lm_head",
            ])
        #expect(match.rows.map(\.moduleCount) == [2, 1, 1])
    }

    @Test func expressionsMatchTheWholePath() throws {
        let match = try TargetMatch(.expression(#".*\.[01]\.self_attn\.(q|k)_proj"#), in: Self.llama)
        #expect(match.modules.count == 4)
        #expect(
            match.rows[0].shapes.map { [$0.count, $0.outputSize, $0.inputSize] } == [[2, 8, 8], [2, 4, 8]])
        #expect(throws: AdapterError.self) { try TargetMatch(.expression("q_proj"), in: Self.llama) }
    }

    @Test func allLinearLeavesTheHeadOut() throws {
        let match = try TargetMatch(.allLinear, in: Self.llama)
        #expect(paths(match) == Self.llama.map(\.path).filter { $0 != "lm_head" })
    }

    @Test func allLinearLeavesExpertsAndRoutersToTheirNames() throws {
        let modules =
            Self.llama + [
                LinearModule(path: "layers.0.experts.0.up_proj", outputSize: 4, inputSize: 8, isOfMixture: true)
            ]
        #expect(try !paths(TargetMatch(.allLinear, in: modules)).contains("layers.0.experts.0.up_proj"))
        #expect(try paths(TargetMatch(.names(["up_proj"]), in: modules)).contains("layers.0.experts.0.up_proj"))
    }

    @Test func excludedModulesAreTakenOut() throws {
        let byName = try TargetMatch(.allLinear, excluding: .names(["mlp.up_proj", "o_proj"]), in: Self.llama)
        #expect(byName.modules.count == 10)
        let byExpression = try TargetMatch(.allLinear, excluding: .expression(#".*\.0\..*"#), in: Self.llama)
        #expect(paths(byExpression).allSatisfy { $0.contains("layers.1") })
    }

    @Test func layersRestrictEndingsButNotWholePaths() throws {
        let match = try TargetMatch(
            .names(["q_proj", "model.layers.0.self_attn.k_proj"]), layers: LayerChoice(numbers: [1]), in: Self.llama)
        #expect(paths(match) == ["model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.q_proj"])
        let named = try TargetMatch(
            .names(["q_proj"]), layers: LayerChoice(numbers: [0], patterns: ["h", "layers"]), in: Self.llama)
        #expect(paths(named) == ["model.layers.0.self_attn.q_proj"])
        #expect(throws: AdapterError.self) {
            try TargetMatch(.names(["q_proj"]), layers: LayerChoice(numbers: [0], patterns: ["h"]), in: Self.llama)
        }
    }

    @Test func firstNumberOfAPathIsItsLayer() throws {
        let experts = [
            Self.module("model.layers.1.experts.0.up_proj", 2, 2),
            Self.module("model.layers.0.experts.1.up_proj", 2, 2),
        ]
        let match = try TargetMatch(.names(["up_proj"]), layers: LayerChoice(numbers: [1]), in: experts)
        #expect(paths(match) == ["model.layers.1.experts.0.up_proj"])
    }

    /// No name is near to what is there and left out.
    @Test func targetWhoseModulesAreAllExcludedIsSaidToBe() throws {
        let error = #expect(throws: AdapterError.self) {
            try TargetMatch(
                .names(["q_proj", "v_proj"]), excluding: .names(["q_proj", "k_proj"]), in: Self.llama)
        }
        #expect(error == .matchesExcluded(target: "q_proj", excluded: "q_proj, k_proj"))
    }

    @Test func targetThatMatchesNothingIsAnErrorWithTheNearestNames() throws {
        let error = #expect(throws: AdapterError.self) {
            try TargetMatch(.names(["q_proj", "k_porj"]), in: Self.llama)
        }
        #expect(error?.exitStatus == .badData)
        guard case .matchesNothing("k_porj", let nearest) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(nearest.first == "k_proj")
        let dotted = NearestNames.find("self_attn.qproj", in: Self.llama.map(\.path))
        #expect(dotted.first == "self_attn.q_proj")
    }

    @Test func selectionRestrictsFurther() throws {
        let chosen = ["model.layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj"]
        let match = try TargetMatch(.names(["q_proj", "up_proj"]), selection: chosen, in: Self.llama)
        #expect(paths(match) == ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"])
        #expect(match.rows.map(\.moduleCount) == [1, 1])
        let error = #expect(throws: AdapterError.self) {
            try TargetMatch(.names(["q_proj"]), selection: chosen, in: Self.llama)
        }
        #expect(
            error == .untargetedSelection("model.layers.1.mlp.up_proj", source: "module selection", targets: "q_proj"))
        // What is no module of the base is proposed another.
        let unknown = #expect(throws: AdapterError.self) {
            try TargetMatch(.names(["q_proj"]), selection: ["model.layers.0.self_attn.q_prj"], in: Self.llama)
        }
        #expect(unknown?.description.contains("nearest: model.layers.0.self_attn.q_proj") == true)
    }

    @Test func argumentIsAListAKeywordOrAnExpression() throws {
        #expect(try TargetSpecification(argument: "q_proj,k_proj") == .names(["q_proj", "k_proj"]))
        #expect(
            try TargetSpecification(argument: "self_attn.q_proj, up_proj") == .names(["self_attn.q_proj", "up_proj"]))
        #expect(try TargetSpecification(argument: "All-Linear") == .allLinear)
        #expect(try TargetSpecification(argument: ".*_proj") == .expression(".*_proj"))
        #expect(throws: AdapterError.self) { try TargetSpecification(argument: "q_proj,,k_proj") }
        #expect(throws: AdapterError.self) { try TargetSpecification(argument: "") }
        #expect(throws: AdapterError.self) { try TargetSpecification(argument: "(q_proj") }
    }

    @Test func editDistanceCountsSingleChanges() {
        #expect(EditDistance.between(Array("kitten".utf8), Array("sitting".utf8)) == 3)
        #expect(EditDistance.between([], Array("abc".utf8)) == 3)
        #expect(EditDistance.between(Array("rnak".utf8), Array("rank".utf8)) == 1)
        #expect(EditDistance.between(Array("abc".utf8), Array("cab".utf8)) == 2)
        #expect(EditDistance.between(Array("abc".utf8), Array("abc".utf8)) == 0)
        // A name that fills a file costs no more than its beginning.
        let long = [UInt8](repeating: 97, count: 40_000_000)
        #expect(EditDistance.between(long, Array("aaab".utf8)) == long.count - 3)
        #expect(EditDistance.between(long, long) == 0)
    }
}
