"""Classes of the host's that are known and not compressed, each with the reason that its user sees.

Those that see pictures as tokens run dense; the others have no tokens of a picture to drop, and a node for them is
refused. With `families` this names every class that the host makes a model of: `python -m lab.checks.classes` compares.
"""

from __future__ import annotations

VIDEO = "a video model: its latents have more than one frame"
PLACED = "it places its tokens inside its own code, where HiLo-Token cannot place those of a strip"

# module:class under comfy.ldm -> why its runs are dense
DENSE: dict[str, str] = {
    "chroma_radiance.model:ChromaRadiance": "the head of this Chroma Radiance is a convolution over the whole picture",
    "aura.mmdit:MMDiT": PLACED,
    "hydit.models:HunYuanDiT": PLACED,
    "pixart.pixartms:PixArtMS": PLACED,
    "pixeldit.model:PixDiT_T2I": PLACED,
    "hidream_o1.model:HiDreamO1Transformer": "its positions come with the prompt, which is not compressed yet",
    "genmo.joint_model.asymm_models_joint:AsymmDiTJoint": VIDEO,
    "lightricks.model:LTXVModel": VIDEO,
    "lightricks.av_model:LTXAVModel": VIDEO,
    "cosmos.model:GeneralDIT": VIDEO,
    "cogvideo.model:CogVideoXTransformer3DModel": VIDEO,
    "minimax.model:MiniMaxH3Model": VIDEO,
    "wan.ar_model:CausalWanModel": VIDEO,
    "wan.model:CameraWanModel": VIDEO,
    "wan.model:HumoWanModel": VIDEO,
    "wan.model:WanModel_S2V": VIDEO,
    "wan.model:SCAILWanModel": VIDEO,
    "wan.model:SCAIL2WanModel": VIDEO,
    "wan.model_animate:AnimateWanModel": VIDEO,
    "wan.model_animate2:WanAnimate2Model": VIDEO,
    "wan.model_wandancer:WanDancerModel": VIDEO,
}

# module:class under comfy.ldm -> what it is instead of a model that sees a picture as tokens
NO_TOKENS: dict[str, str] = {
    "modules.diffusionmodules.openaimodel:UNetModel": "a UNet",
    "cascade.stage_b:StageB": "a UNet",
    "cascade.stage_c:StageC": "a UNet",
    "pixeldit.pid:PidNet": "an upscaler",
    "seedvr.model:NaDiT": "an upscaler",
    "audio.dit:AudioDiffusionTransformer": "a model of sound",
    "ace.model:ACEStepTransformer2DModel": "a model of sound",
    "ace.ace_step15:AceStepConditionGenerationModel": "a model of sound",
    "minimax_music.dit:MiniMaxMusic3DiT": "a model of sound",
    "hunyuan3d.model:Hunyuan3Dv2": "a model of shapes",
    "hunyuan3dv2_1.hunyuandit:HunYuanDiTPlain": "a model of shapes",
    "trellis2.model:Trellis2": "a model of shapes",
    "triposplat.model:LatentSeqMMFlowModel": "a model of shapes",
    "rt_detr.rtdetr_v4:RTv4": "a model that looks at pictures",
    "depth_anything_3.model:DepthAnything3Net": "a model that looks at pictures",
    "sam3.detector:SAM3Model": "a model that looks at pictures",
}

# checkpoints for which ComfyUI has a class that was not at hand -> what is known of it
NOT_TRIED: dict[str, str] = {
    "FLUX.3 klein": "needs ComfyUI 0.41, whose source was not at hand",
    "MOSS-Image, Ming-Image, Fibo2": "need ComfyUI 0.37 to 0.43, whose source was not at hand",
    "Kandinsky 6, SenseNova U1.5": "in newer hosts than 0.33, not read",
}


def why_dense(path: str) -> str:
    """Why runs of a class, module:class, are dense; '' if it is not known to take pictures as tokens."""
    return DENSE.get(path.removeprefix("comfy.ldm."), "")


def instead_of_tokens(path: str) -> str:
    """What a class, module:class, is that has no tokens to drop; '' if that is not known."""
    return NO_TOKENS.get(path.removeprefix("comfy.ldm."), "")
