import Transforms

/// What becomes of a gate where nothing can depend on the token, as in one merged weight.
///
/// A gate that never opened over the tokens of the adapter's statistics stays closed in either case.
public enum Gates: String, Sendable, CaseIterable {
    /// The factor on the update that is nearest to the gate over these tokens in the least-squares sense:
    /// c = sum S |M|^2 / sum |M|^2.
    case scale
    /// The gate is taken as open: c = 1.
    case drop

    /// The rule of the transforms. Lower rooms' types cannot be named by who imports this one alone, so each that a
    /// request holds has its counterpart here.
    package var rule: MergeGates {
        switch self {
        case .scale: .scale
        case .drop: .drop
        }
    }
}

extension ExportRequest {
    /// What an adapter can be exported to.
    public enum Format: String, Sendable, CaseIterable {
        /// A directory for peft.
        case peft
        /// A directory for mlx-lm; needs the base.
        case mlx
        /// A GGUF file for llama.cpp's `--lora`; needs the base.
        case ggufLoRA = "gguf-lora"
        /// The adapter with its gates, and a Python module that puts it into a model of transformers.
        case torch

        /// The format of the transforms.
        package var table: ExportFormat {
            switch self {
            case .peft: .peft
            case .mlx: .mlx
            case .ggufLoRA: .ggufLoRA
            case .torch: .torch
            }
        }
    }
}
