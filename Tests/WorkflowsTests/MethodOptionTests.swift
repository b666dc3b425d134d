import Adapters
import CheckpointIO
import Compute
import TestSupport
import Testing
import TSPEFT

/// The numbers of a new adapter by method, as `inject` writes them.
@Suite struct MethodOptionTests {
    private func configuration(
        _ method: String, _ change: (inout InjectRequest) -> Void = { _ in }
    ) throws -> AdapterConfiguration {
        try withTemporaryFolder { folder in
            var request = InjectRequest(basePath: fixture("tiny-llama"), outputPath: folder + "/adapter")
            request.method = method
            request.targets = "q_proj"
            change(&request)
            _ = try injectAdapter(request)
            return try AdapterDirectory.read(folder + "/adapter").configuration
        }
    }

    @Test func everyMethodHasItsDefaults() throws {
        for kind in AdapterKind.allCases {
            for isGated in [false, true] {
                let found = try configuration(kind.methodName(gated: isGated))
                #expect(found.kind == kind && found.isGated == isGated)
                #expect(found.dropout == 0)
                switch found.settings {
                case is any LowRankSettings: #expect(found.rank == 32 && found.scaling(for: "q_proj") == 0.5)
                case let own as AdaLoRASettings:
                    #expect(own.initialRank == 64 && own.targetRank == 32 && own.scale == 32)
                    #expect(own.initialSteps == 0 && own.finalSteps == 0 && own.interval == 1 && own.beta1 == 0.85)
                case let own as ParallelAdapterSettings:
                    #expect(own.size == 32 && own.activation == .tanh && found.scaling(for: "q_proj") == 1)
                case let own as VeRASettings: #expect(own.size == 256 && own.initialD == 0.1)
                case let own as IA3Settings: #expect(own.feedforward == .names([]) && found.rank == nil)
                default: Issue.record("the defaults of \(kind) are not checked")
                }
            }
        }
    }

    @Test func optionsLandInTheConfiguration() throws {
        let adaLoRA = try configuration("ts-adalora") {
            $0.options["init_r"] = .integer(6)
            $0.options["target_r"] = .integer(2)
            $0.options["tinit"] = .integer(3)
            $0.options["tfinal"] = .integer(4)
            $0.options["deltaT"] = .integer(5)
            $0.options["beta1"] = .real(0.5)
            $0.options["beta2"] = .real(0.6)
            $0.options["orth_reg_weight"] = .real(0.25)
            $0.options["alpha"] = .real(12.0)
        }
        var expected = AdaLoRASettings()
        expected.initialRank = 6
        expected.scale = 12
        expected.targetRank = 2
        expected.initialSteps = 3
        expected.finalSteps = 4
        expected.interval = 5
        expected.beta1 = 0.5
        expected.beta2 = 0.6
        expected.orthogonalWeight = 0.25
        // What the file says before a run, since peft loads none without: tinit + tfinal + 1.
        expected.totalSteps = 8
        #expect(adaLoRA.settings as? AdaLoRASettings == expected)

        let adapter = try configuration("adapter") {
            $0.options["adapter_size"] = .integer(7)
            $0.options["non_linearity"] = .string("gelu")
            $0.options["scaling"] = .real(0.75)
        }
        let parallel = adapter.own(ParallelAdapterSettings.self)
        #expect(parallel.size == 7 && parallel.activation == .gelu && parallel.scaling == 0.75)

        let vera = try configuration("vera") {
            $0.options["rank"] = .integer(5)
            $0.options["d_initial"] = .real(0.2)
            $0.options["projection_key"] = .integer(9)
        }
        let shared = vera.own(VeRASettings.self)
        #expect(shared.size == 5 && shared.initialD == 0.2 && shared.projectionKey == 9)

        #expect(try configuration("lora") { $0.options["lora_bias"] = .bool(true) }.own(LoRASettings.self).hasBias)
    }

    @Test func targetRankIsHalfOfTheFirstUnlessGiven() throws {
        #expect(
            try configuration("adalora") { $0.options["rank"] = .integer(5) }.own(AdaLoRASettings.self).targetRank == 3)
        let preset = try configuration("adalora") { $0.preset = .csr }
        #expect(preset.rank == 64 && preset.own(AdaLoRASettings.self).targetRank == 32 && preset.dropout == 0.05)
        let own = try configuration("adalora") {
            $0.preset = .csr
            $0.options["rank"] = .integer(8)
        }
        #expect(own.rank == 8 && own.own(AdaLoRASettings.self).targetRank == 4)
    }

    /// Each option of one method alone, and a method that it does not belong to.
    static let strangers: [(name: String, method: String, set: @Sendable (inout MethodOptions) -> Void)] = [
        ("init_r", "lora", { $0["init_r"] = .integer(4) }),
        ("adapter_size", "vera", { $0["adapter_size"] = .integer(4) }),
        ("alpha", "ts-vera", { $0["alpha"] = .real(4.0) }),
        ("alpha", "adapter", { $0["alpha"] = .real(4.0) }),
        ("rslora", "adalora", { $0["rslora"] = .bool(true) }),
        ("lora_bias", "dora", { $0["lora_bias"] = .bool(true) }),
        ("rank_pattern", "vera", { $0["rank_pattern"] = .object(["q_proj": .integer(2)]) }),
        ("alpha_pattern", "adalora", { $0["alpha_pattern"] = .object(["q_proj": .integer(2)]) }),
        ("target_r", "dora", { $0["target_r"] = .integer(2) }),
        ("tinit", "lora", { $0["tinit"] = .integer(2) }),
        ("tfinal", "lora", { $0["tfinal"] = .integer(2) }),
        ("deltaT", "ts-adapter", { $0["deltaT"] = .integer(2) }),
        ("beta1", "lora", { $0["beta1"] = .real(0.5) }),
        ("beta2", "lora", { $0["beta2"] = .real(0.5) }),
        ("orth_reg_weight", "lora", { $0["orth_reg_weight"] = .real(0.5) }),
        ("non_linearity", "ts-lora", { $0["non_linearity"] = .string("relu") }),
        ("scaling", "lora", { $0["scaling"] = .real(2.0) }),
        ("d_initial", "adalora", { $0["d_initial"] = .real(0.1) }),
        ("feedforward_modules", "lora", { $0["feedforward_modules"] = .string("down_proj") }),
        ("rank", "ia3", { $0["rank"] = .integer(4) }),
        ("projection_key", "adapter", { $0["projection_key"] = .integer(1) }),
    ]

    @Test(arguments: strangers.indices) func optionOfAnotherMethodIsRefusedByName(_ index: Int) throws {
        let (name, method, set) = Self.strangers[index]
        do {
            _ = try configuration(method) { set(&$0.options) }
            Issue.record("\(name) was taken for \(method)")
        } catch let error as WorkflowError {
            #expect(error.exitStatus == .usage)
            #expect(error.description.hasPrefix(name + " belongs to "))
        }
    }

    @Test func twoNamesOfTheRankMustAgree() throws {
        #expect(throws: WorkflowError.twoNames("rank", value: "4", other: "init_r", otherValue: "6")) {
            _ = try configuration("adalora") {
                $0.options["rank"] = .integer(4)
                $0.options["init_r"] = .integer(6)
            }
        }
    }
}
