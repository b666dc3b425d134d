import Adapters

/// The Python module that puts an exported adapter into a transformers model.
enum TorchModule {
    /// Its name beside the adapter's files.
    static let fileName = "tspeft_torch.py"
    /// The settings that it reads.
    static let settingsFile = "tspeft_torch.json"
    /// The only form of the settings so far.
    static let format = 1

    /// Its text, in which each kind's update is the class that the kind's file has. Held against peft's own models and
    /// ours by `Tests/Scripts/check_exports.py`.
    static let text =
        beginning + kinds.map { $0.settings.torchUpdate.text + "\n\n\n" }.joined()
        + "UPDATES = {" + kinds.map { "\"\($0)\": \($0.settings.torchUpdate.name)" }.joined(separator: ", ") + "}\n"
        + end

    /// The kinds, peft's own first.
    private static var kinds: [AdapterKind] {
        let kinds = AdapterKind.allCases
        return kinds.filter { $0.settings.isInPEFT } + kinds.filter { !$0.settings.isInPEFT }
    }

    private static let beginning = #"""
        """Runs an adapter that tspeft exported into this folder on a transformers model, for inference only.

            from transformers import AutoModelForCausalLM
            import tspeft_torch

            model = AutoModelForCausalLM.from_pretrained("BASE")
            tspeft_torch.put_adapter(model)  # this folder's, or give another folder
            model.generate(...)

        Or from a shell: python tspeft_torch.py BASE "A prompt"

        Each adapted projection computes, for every token i (TS-PEFT, arXiv 2511.16147, equations 2 and 3),

            h_i = W0 x_i + bias + S_i M(x_i),    S_i = 1 if |M(x_i)| / |W0 x_i + bias| >= tau else 0,

        with 0/0 = 0; a dense adapter has no tau, and S_i = 1. M is computed in float32 whatever the model's type.
        Needs torch and safetensors, and transformers for the shell command.
        """

        import json
        import sys
        from pathlib import Path

        import torch
        from safetensors.torch import load_file
        from torch import nn
        from torch.nn.functional import gelu, linear, relu, silu

        NON_LINEARITIES = {"tanh": torch.tanh, "relu": relu, "gelu": gelu, "silu": silu}



        """#

    private static let end = #"""


        class AdaptedLinear(nn.Module):
            """A frozen linear layer with an update and, unless tau is None, a gate before the update."""

            def __init__(self, base, update, tau):
                super().__init__()
                self.base = base
                self.update = update.to(base.weight.device)
                self.tau = tau

            @property
            def weight(self):
                return self.base.weight

            @property
            def bias(self):
                return self.base.bias

            def forward(self, x):
                if self.training:
                    raise RuntimeError("tspeft_torch is for inference: call model.eval(); to train, use tspeft")
                out = self.base(x)
                with torch.autocast(device_type=x.device.type, enabled=False):
                    wide = out.float()
                    update = self.update(x.float(), wide)
                    if self.tau is not None:
                        size = torch.linalg.norm(update, dim=-1, keepdim=True)
                        ratio = torch.where(size == 0, 0, size / torch.linalg.norm(wide, dim=-1, keepdim=True))
                        update = torch.where(ratio >= self.tau, update, 0)
                    return (wide + update).to(out.dtype)


        def put_adapter(model, folder=Path(__file__).parent):
            """Puts the adapter in `folder` into `model`, which it changes, switches to eval mode and gives back."""
            folder = Path(folder)
            settings = json.loads((folder / "tspeft_torch.json").read_text())
            if settings["format"] != 1:
                raise ValueError(f"{folder}: format {settings['format']} needs the tspeft_torch.py of that export")
            tensors = load_file(folder / "adapter_model.safetensors")
            tensors = {key.removeprefix("base_model.").removeprefix("model."): value for key, value in tensors.items()}
            shared = {name: tensors.pop(name).float() for name in ("vera_A", "vera_B") if name in tensors}
            for entry in settings["modules"]:
                path = entry["module"]
                base = model.get_submodule(path)
                if not isinstance(base, nn.Linear):
                    raise TypeError(f"{path} is a {type(base).__name__}, not a torch.nn.Linear (load it unquantized)")
                own = {name: tensors.pop(f"{path}.{name}").float() for name in entry["tensors"]}
                tau = own.pop("tau", None)
                update = UPDATES[entry["update"]]({**own, **shared}, entry, base)
                parent, _, name = path.rpartition(".")
                adapted = AdaptedLinear(base, update, None if tau is None else tau.item())
                setattr(model.get_submodule(parent), name, adapted)
            for name in settings["saved_tensors"]:
                path, _, parameter = name.rpartition(".")
                module = model.get_submodule(path)
                old, new = getattr(module, parameter), tensors.pop(name)
                if old.shape != new.shape:
                    raise ValueError(f"{name} has the shape {tuple(new.shape)}; the model has {tuple(old.shape)}")
                # A parameter of its own, so that one that was tied to it stays as it is.
                setattr(module, parameter, nn.Parameter(new.to(old.device, old.dtype), requires_grad=False))
            if tensors:
                raise ValueError(f"{folder}: tensors that nothing uses: {', '.join(sorted(tensors))}")
            return model.eval()


        def main():
            from transformers import AutoModelForCausalLM, AutoTokenizer

            if len(sys.argv) != 3:
                sys.exit('usage: python tspeft_torch.py BASE "A prompt"')
            tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
            model = put_adapter(AutoModelForCausalLM.from_pretrained(sys.argv[1]))
            inputs = tokenizer(sys.argv[2], return_tensors="pt")
            tokens = model.generate(**inputs, max_new_tokens=64, do_sample=False)
            print(tokenizer.decode(tokens[0], skip_special_tokens=True))


        if __name__ == "__main__":
            main()
        """#
}
