import Adapters
import Models
import TensorCore

/// The modules that a new adapter goes around where none are named.
enum DefaultTargets {
    /// Those of the preset, or else the method's usual ones where the base has a linear module of each of these names,
    /// those of its architecture, and for a low-rank method those that peft has for its model type.
    ///
    /// Throws `WorkflowError.unsuitableData` for a base that does not have them.
    static func names(
        for kind: AdapterKind, preset: Preset?, in base: ModelCheckpoint
    ) throws(WorkflowError) -> [String] {
        let modules = base.linearModules.filter { base.textPart?.hasInLayers($0.path) ?? true }
        let usual =
            preset.map { $0.targets(in: modules.map(\.path)) } ?? kind.settings.defaultTargets ?? Preset.csr.targets
        var known: [[String]] = [usual]
        // What scales outputs and inputs asks of each module which of them.
        if preset == nil, kind.settings.defaultTargets == nil {
            known += [base.architecture.flatMap { type(of: $0).defaultTargets }].compactMap { $0 }
            let modelType = base.checkpoint.configuration?["model_type"]?.stringValue ?? ""
            known += ofPEFT.filter { $0.types.contains(modelType) }.map(\.targets)
        }
        let found = known.first { names in
            names.allSatisfy { name in modules.contains { TargetMatch.name(name, matches: $0.path) } }
        }
        guard let found else { throw missing(usual, in: base) }
        return found
    }

    /// The error for a base that lacks some of these names.
    private static func missing(_ names: [String], in base: ModelCheckpoint) -> WorkflowError {
        let problem: Wording = """
            where no modules are named, \(names.joined(separator: ", ")) are adapted, and the base does not have a linear \
            module of each of these names; name its own with \(.targets), or all with \
            \(.targets, TargetSpecification.allLinearName)
            """
        return .unsuitableData(path: base.checkpoint.path, problem: problem)
    }

    /// What peft 0.21 adapts by LoRA, by `model_type`, as far as it is not the usual.
    private static let ofPEFT: [(targets: [String], types: Set<String>)] = [
        (["q_proj", "v_proj"], ["bart", "opt", "gptj", "gpt_neo", "llama4", "stablelm", "gemma"]),
        (["q_proj", "v_proj", "fc1", "fc2"], ["phi"]),
        (["q_proj", "k_proj", "v_proj", "o_proj"], ["nemotron_h"]),
        (["q", "v"], ["t5", "mt5"]), (["q", "v", "q_proj", "v_proj"], ["blip-2"]),
        (["c_attn"], ["gpt2", "gpt_bigcode"]), (["c_proj", "c_attn"], ["btlm"]),
        (["query_key_value"], ["bloom", "gpt_neox", "chatglm", "falcon", "RefinedWeb", "RefinedWebModel"]),
        (["query", "value"], ["bert", "roberta", "xlm-roberta", "electra", "layoutlm"]),
        (["query_proj", "value_proj"], ["deberta-v2"]), (["in_proj"], ["deberta"]), (["Wqkv"], ["mpt"]),
        (["qkv_proj"], ["codegen"]), (["key", "value", "receptance", "output"], ["rwkv"]),
        (["r_proj", "k_proj", "v_proj", "o_proj", "key", "value"], ["rwkv7"]),
    ]
}

extension ModelCheckpoint {
    /// That `all-linear` passes over what a mixture has of experts and routers; nil where there is none, or the targets are
    /// others.
    func expertsLeftOut(by targets: TargetSpecification) -> Wording? {
        guard targets == .allLinear else { return nil }
        let count = specifications.all.count { $0.role == .experts || $0.isOfMixture }
        guard count > 0 else { return nil }
        let note: Wording = """
            all-linear leaves out the experts and routers of the mixture (\(count) tensors), which are no linear layers in \
            memory; those with a matrix of their own can be named with \(.targets)
            """
        return note
    }
}

extension TrainRequest {
    /// What a user should know of the choice of modules of an adapter that is made for the run.
    func notes(on base: ModelCheckpoint) throws -> [Wording] {
        guard let targets = newAdapter?.targets, newAdapter?.adapterPath == nil else { return [] }
        return [base.expertsLeftOut(by: try TargetSpecification(argument: targets))].compactMap { $0 }
    }
}
