// @ts-check
// <callbin-view>: shows what a peer, or each member of a room, sends. It never asks for camera or microphone.

import { CallbinElement } from "./element.js";

export class CallbinView extends CallbinElement {}
